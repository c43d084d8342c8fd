"""What an evaluation reads from its run: prompts, models and settings, and the hash of all of them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from forgetfilter.config.registry import GUARDS, JUDGES, SCORERS, SUITES
from forgetfilter.config.schema import ANSWERS, BATCH_TOKENS, EvalConfig, JudgeConfig, number
from forgetfilter.data import tokens
from forgetfilter.data.sources import as_input, fingerprint
from forgetfilter.errors import UserError, nearest, without_user
from forgetfilter.files import sha256_file, sha256_value
from forgetfilter.models.chat_template import template_hash
from forgetfilter.models.fitting import answers_at_once, noted_tokens
from forgetfilter.models.guard_models import find_guard
from forgetfilter.models.identity import folder_hash, weights_hash
from forgetfilter.models.loading import hub_or_folder
from forgetfilter.models.sampling import Sampling
from forgetfilter.models.vllm_engine import CHUNK
from forgetfilter.process.distributed import World

from . import harness, suites
from .judges import JudgeKind
from .outputs import Asking
from .prompts import PromptRow, read_prompts
from .scorers import find_scorer
from .task import MODELS, Evaluation

TOXICITY = "toxicity"  # the suite whose answers a scorer scores
CODE_VERSION = 5  # raise it when the metrics of unchanged generations change


def measured_names(evaluation: Evaluation) -> list[str]:
    """What is measured, in the config's order: the suites that have prompts, and the harness's tasks."""
    return [*suites_with_prompts(evaluation), *map(harness.suite_name, evaluation.options.lm_eval.tasks)]


def input_hash(evaluation: Evaluation, model: str, suite: str) -> str:
    """The hash of everything that a suite's metrics of a model depend on; the suite may lack prompts."""
    measured, options = suites.get(suite), evaluation.options
    file, packages = prompts(evaluation, measured), _packages(options, measured)
    sampled = sampling(evaluation) if measured.sampled else None
    return sha256_value(
        {
            "code": CODE_VERSION,
            "suite": suite,
            "prompts": sha256_file(file) if file.exists() else None,
            "base": evaluation.base.identity,
            "trained": trained_hash(evaluation, model),
            "template": template_hash(evaluation.model.chat_template),
            "model": [evaluation.model.dtype, evaluation.model.attention],
            "eval": [
                options.max_new_tokens,
                number(options.generation_batch, ANSWERS),
                asdict(scoring_settings(evaluation)),
            ],
            "asked": [options.backend, options.system_prompt, options.cue, sampled and asdict(sampled)],
            "judge": _judge_identity(options.judge) if measured.judged else None,
            "likelihoods": [number(evaluation.batch_tokens, BATCH_TOKENS), evaluation.max_length, evaluation.packing],
        }
        | packages
    )


def _packages(options: EvalConfig, suite: suites.Suite) -> dict[str, dict[str, str]]:
    """The versions of the other packages whose code measures a suite; nothing where there are none."""
    judge, scorer = {options.judge.name}, {options.toxicity_scorer}
    found = {
        "packages": SUITES.packages({suite.name}),
        "judge_packages": JUDGES.packages(judge) | GUARDS.packages(judge) if suite.judged else {},
        "scorer_packages": SCORERS.packages(scorer) if suite.name == TOXICITY else {},
    }
    return {key: packages for key, packages in found.items() if packages}


def suites_with_prompts(evaluation: Evaluation) -> list[str]:
    """The configured suites for which the mix stage wrote prompts, in the config's order."""
    return [name for name in evaluation.options.suites if prompts(evaluation, suites.get(name)).exists()]


def unasked(evaluation: Evaluation) -> list[str]:
    """The suites that have prompts which no suite of eval.suites asks."""
    asked = {prompts(evaluation, suites.get(name)) for name in evaluation.options.suites}
    own = {suite.name: prompts(evaluation, suite) for suite in suites.every() if not suite.prompts}
    return [name for name, path in own.items() if path.exists() and path not in asked]


def prompts(evaluation: Evaluation, suite: suites.Suite) -> Path:
    return evaluation.paths.eval_prompts(suite.prompts or suite.name)


def rows(evaluation: Evaluation, suite: suites.Suite) -> list[PromptRow]:
    return read_prompts(prompts(evaluation, suite), suite.check, suite.prompted)


def sampling(evaluation: Evaluation) -> Sampling | None:
    """The sampling of the suites that take samples; None where each prompt has one greedy answer."""
    options = evaluation.options
    several = options.samples > 1
    return Sampling(options.samples, options.temperature, options.top_p, evaluation.seed) if several else None


def scoring_settings(evaluation: Evaluation) -> suites.Settings:
    options = evaluation.options
    labels = tuple(options.toxicity_labels)
    return suites.Settings(options.toxicity_scorer, options.bias_formula, evaluation.judge_name, labels)


def _judge_identity(judge: JudgeConfig) -> list[object]:
    """The settings that the verdicts depend on, without those of how the judge is asked."""
    labelled = judge.calibration and [as_input(asdict(judge.calibration)), fingerprint(judge.calibration)]
    return [judge.name, judge.model, judge.revision, judge.labels, without_user(judge.url), labelled]


def trained(evaluation: Evaluation, model: str) -> Path | None:
    """The folder of a trained model; None for M0. UserError where it is not there."""
    if model not in MODELS:
        raise UserError(f"{model!r} is no model of a run{nearest(model, tuple(MODELS))}")
    if model == "base":
        return None
    path = evaluation.paths.model(model)
    if not any(path.glob("*config.json")):
        raise UserError(f"{path} holds no model: run the train stage for {model} first")
    return path


def trained_hash(evaluation: Evaluation, model: str) -> str | None:
    """The hash of a trained model's weights; None for M0."""
    folder = trained(evaluation, model)
    return weights_hash(folder, evaluation.model.cache) if folder else None


def other_models(options: EvalConfig) -> dict[str, Path]:
    """The folders of the models that judge and score, fetched if need be, where a configured suite uses them."""
    folders = {}
    if options.judge.name in GUARDS.names and _judges(options):
        folders["judge"] = find_guard(options.judge, "eval.judge")
    if "/" in options.toxicity_scorer and TOXICITY in options.suites:
        folders["scorer"] = hub_or_folder(options.toxicity_scorer, None, "eval.toxicity_scorer")
    return folders


def loaded(evaluation: Evaluation) -> dict[str, str | None]:
    """The contents of what is loaded from outside: M0, and the judge and the scorer that a configured suite uses."""
    options, cache = evaluation.options, evaluation.model.cache
    folders = {"model": evaluation.base.path} | other_models(options)
    found: dict[str, str | None] = {key: folder_hash(folder, cache) for key, folder in folders.items()}
    if TOXICITY in options.suites and (weights := find_scorer(options.toxicity_scorer)):
        found["scorer"] = weights
    if JUDGES.packages({options.judge.name}) and _judges(options):
        found["judge"] = JUDGES.find(JudgeKind, options.judge.name, "eval.judge.name").open(options.judge, 1).identity
    return found


def _judges(options: EvalConfig) -> bool:
    return any(suites.get(name).judged for name in options.suites)


def asking(evaluation: Evaluation, model: str, tokenizer: Any, world: World) -> Asking:
    """How a model of the run is asked the prompts."""
    options, numerics = evaluation.options, evaluation.model.on(world.device)
    about = {
        "state": model,
        "base_model": evaluation.base.identity,
        "trained": trained_hash(evaluation, model),
        "tokenizer": tokens.tokenizer_identity(tokenizer),
        "chat_template": sha256_value(tokenizer.chat_template),
        "attention": numerics.attention,
        "dtype": numerics.dtype,
        "device": world.device.type,
    }
    room = evaluation.max_length + options.max_new_tokens
    together = answers_at_once(options.generation_batch, evaluation.base.path, room, world.device)
    return Asking(
        tokenizer,
        world,
        about,
        options.max_new_tokens,
        max(together, CHUNK) if options.backend == "vllm" else together,
        noted_tokens(evaluation.batch_tokens, BATCH_TOKENS, evaluation.paths.batch_tokens),
        evaluation.max_length,
        backend=options.backend,
        packing=evaluation.packing,
        sampling=sampling(evaluation),
        system=options.system_prompt,
        cue=options.cue,
        cache=evaluation.model.cache,
    )
