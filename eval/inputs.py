"""What an evaluation reads of its run: prompts, models and settings, and the hash of all of it."""

import functools
from dataclasses import asdict
from pathlib import Path
from typing import Any

from forgetfilter.config.registry import GUARDS, SUITES
from forgetfilter.data import tokens
from forgetfilter.data.sources import fingerprint
from forgetfilter.errors import UserError, nearest
from forgetfilter.files import sha256_file, sha256_value
from forgetfilter.models.chat_template import template_hash
from forgetfilter.models.guard_models import find_guard
from forgetfilter.models.identity import weights_hash
from forgetfilter.models.loading import (
    ModelRef,
    hub_or_folder,
    load_tokenizer,
    resolve,
)
from forgetfilter.models.numerics import attention_backend, compute_dtype
from forgetfilter.models.sampling import Sampling
from forgetfilter.models.vllm_engine import CHUNK
from forgetfilter.process.distributed import World
from forgetfilter.storage.run_folder import Run

from . import harness, suites
from .outputs import Asking
from .prompts import Row, read_prompts
from .stage import MODELS

CODE_VERSION = 5  # raise it when the metrics of unchanged generations change


def folder(run: Run, model: str, suite: str) -> Path:
    return run.folder / "eval" / model / suite


def measured_names(run: Run) -> list[str]:
    """What a run's evaluation measures, in the config's order: its suites with prompts, and the harness's tasks."""
    return [*suites_with_prompts(run), *map(harness.suite_name, run.config.eval.lm_eval.tasks)]


def input_hash(run: Run, model: str, suite: str) -> str:
    """The hash of all that a suite's metrics of a model depend on; a suite may have no prompts (it is left out)."""
    config = run.config
    file, adapted = prompts(run, suites.get(suite)), trained(run, model)
    packages = SUITES.packages({suite})
    return sha256_value(
        {
            "code": CODE_VERSION,
            "suite": suite,
            "prompts": sha256_file(file) if file.exists() else None,
            "base": base(run).identity,
            "trained": weights_hash(adapted, cache(run)) if adapted else None,
            "template": template_hash(config.model.chat_template),
            "model": [config.model.dtype, config.model.attention],
            "eval": [config.eval.max_new_tokens, config.eval.generation_batch, asdict(settings(run))],
            "asked": [
                config.eval.backend,
                config.eval.system_prompt,
                config.eval.cue,
                _sampled(run, suites.get(suite)),
            ],
            "judge": _judge_settings(run) if suites.get(suite).judged else None,
            "likelihoods": [config.data.batch_tokens, config.data.max_length, config.data.packing],
        }
        | ({"packages": packages} if packages else {})
    )


def suites_with_prompts(run: Run) -> list[str]:
    """The configured suites for which the mix stage wrote prompts, in the config's order."""
    return [name for name in run.config.eval.suites if prompts(run, suites.get(name)).exists()]


def unasked(run: Run) -> list[str]:
    """The suites whose prompts are there for nothing: eval.suites has none that asks them."""
    asked = {prompts(run, suites.get(name)) for name in run.config.eval.suites}
    own = (suite for suite in suites.every() if not suite.prompts)
    return [suite.name for suite in own if prompts(run, suite).exists() and prompts(run, suite) not in asked]


def prompts(run: Run, suite: suites.Suite) -> Path:
    return run.eval_prompts(suite.prompts or suite.name)


def rows(run: Run, suite: suites.Suite) -> list[Row]:
    return read_prompts(prompts(run, suite), suite.check, suite.prompted)


def _sampled(run: Run, suite: suites.Suite) -> Any:
    drawn = sampling(run) if suite.sampled else None
    return drawn and asdict(drawn)


def samples(run: Run, suite: suites.Suite) -> int:
    return run.config.eval.samples if suite.sampled else 1


def sampling(run: Run) -> Sampling | None:
    options = run.config.eval
    several = options.samples > 1
    return Sampling(options.samples, options.temperature, options.top_p, run.config.seed) if several else None


def settings(run: Run) -> suites.Settings:
    options = run.config.eval
    labels = tuple(options.toxicity_labels)
    return suites.Settings(options.toxicity_scorer, options.bias_formula, judge_name(run), labels)


def judge_name(run: Run) -> str:
    """The judge with its model where that is named: another model is another judge."""
    judge = run.config.eval.judge
    return ": ".join(part for part in (judge.name, judge.model, *judge.labels) if part)


def _judge_settings(run: Run) -> Any:
    """What the verdicts depend on, and not how they are asked for."""
    judge = run.config.eval.judge
    labelled = judge.calibration and [asdict(judge.calibration), fingerprint(judge.calibration)]
    return [judge.name, judge.model, judge.revision, judge.labels, judge.url, labelled]


def trained(run: Run, model: str) -> Path | None:
    """The folder of a trained state; None for M0."""
    if model not in MODELS:
        raise UserError(f"{model!r} is no model of a run{nearest(model, tuple(MODELS))}")
    if model == "base":
        return None
    path = run.model(model)
    if not any(path.glob("*config.json")):
        raise UserError(f"{path} holds no model: run the train stage for {model} first")
    return path


def base(run: Run) -> ModelRef:
    return _resolved(run.config.model.name, run.config.model.revision, cache(run))


def tokenizer(run: Run) -> Any:
    return load_tokenizer(base(run).path, run.config.model.chat_template)


@functools.cache
def _resolved(name: str, revision: str | None, cache: Path) -> ModelRef:
    return resolve(name, revision, cache)


def rivals(run: Run) -> dict[str, Path]:
    """The folders of the models that judge and score, found or fetched, where a suite of the config asks them."""
    options, found = run.config.eval, {}
    if options.judge.name in GUARDS.names and any(suites.get(name).judged for name in options.suites):
        found["judge"] = find_guard(options.judge, "eval.judge")
    if "/" in options.toxicity_scorer and "toxicity" in options.suites:
        found["scorer"] = hub_or_folder(options.toxicity_scorer, None, "eval.toxicity_scorer")
    return found


def cache(run: Run) -> Path:
    return Path(run.config.cache).expanduser()


def dtype(run: Run, world: World) -> str:
    return compute_dtype(run.config.model.dtype, world.device, run.config.train.method == "qlora")


def asking(run: Run, model: str, tokenizer: Any, world: World) -> Asking:
    """How the prompts are put to a model of the run."""
    config, options, adapted = run.config, run.config.eval, trained(run, model)
    about = {
        "state": model,
        "base_model": base(run).identity,
        "trained": weights_hash(adapted, cache(run)) if adapted else None,
        "tokenizer": tokens.tokenizer_identity(tokenizer),
        "chat_template": sha256_value(tokenizer.chat_template),
        "attention": attention_backend(config.model.attention, world.device, base(run).path),
        "dtype": dtype(run, world),
        "device": world.device.type,
    }
    return Asking(
        tokenizer,
        world,
        about,
        options.max_new_tokens,
        max(options.generation_batch, CHUNK) if options.backend == "vllm" else options.generation_batch,
        config.data.batch_tokens,
        config.data.max_length,
        backend=options.backend,
        packing=config.data.packing,
        sampling=sampling(run),
        system=options.system_prompt,
        cue=options.cue,
        cache=cache(run),
    )
