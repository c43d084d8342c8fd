"""The eval stage: prompts, generations, scores, metrics, for each model and suite of a run.

Outputs are stored before anything is judged or scored, so both work again without the model. In eval/MODEL/SUITE/
generations.parquet, scores.parquet and metrics.json are written in this order, each whole or not at all.
"""

import functools
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from forgetfilter import tokens
from forgetfilter.config import JudgeConfig
from forgetfilter.distributed import World, barrier, gathered
from forgetfilter.errors import UserError, nearest
from forgetfilter.files import atomic_path, read_json, sha256_file, sha256_value, write_json
from forgetfilter.models import ModelRef, States, attention_backend, compute_dtype, folder_hash, load_tokenizer, resolve
from forgetfilter.progress import console
from forgetfilter.runs import Run
from forgetfilter.sampling import Sampling
from forgetfilter.sources import fingerprint

from . import harness, suites
from .agreement import agreement, read_calibration
from .compare import gains
from .intervals import Metric
from .judges import Judge, Pair, open_judge
from .outputs import Asking, ask, is_pending, read_outputs
from .prompts import Row, read_prompts
from .verdicts import judge_all

MODELS = ("base", "noisy", "safe", "refit")
CODE_VERSION = 3  # raise it when the metrics of unchanged generations change


def evaluate(run: Run, models: list[str], world: World) -> None:
    """Measures the models on every suite that has prompts; to be called by every rank. Stopped after a signal."""
    for name in models:
        _trained(run, name)  # refused before any model is loaded
    if run.config.eval.lm_eval.tasks and world.is_main:
        harness.task_manager(run.config.eval.lm_eval)
    here = suites_with_prompts(run)
    judged = [name for name in here if suites.get(name).judged]
    wanted = run.config.eval.judge if judged else JudgeConfig()  # of nobody's answers: no guard is fetched for it
    judge = open_judge(
        wanted, compute_dtype(run.config.model.dtype, world.device), world.device, _cache(run), world.size
    )
    labelled = _calibration(run) if judged else None
    rows = {name: _rows(run, suites.get(name)) for name in here}
    if world.is_main and (without := [name for name in run.config.eval.suites if name not in here]):
        console.print(f"eval: no prompts for {', '.join(without)}: left out")
    base, attention = _base(run), attention_backend(run.config.model.attention, world.device)
    tokenizer = load_tokenizer(base.path, run.config.model.chat_template)
    states = States(base, _dtype(run, world), attention, world.device, run.config.train.method == "qlora")
    for name in models:
        asking = _asking(run, name, base, tokenizer, attention, world)
        pending = [s for s in here if is_pending(suites.get(s), rows[s], folder(run, name, s), asking)]
        tasks = _pending_tasks(run, name, asking.model)
        barrier()
        if pending or tasks:
            with states.use(_trained(run, name)) as model:
                for suite in pending:
                    ask(model, suites.get(suite), rows[suite], folder(run, name, suite), asking, f"{suite} of {name}")
                if tasks:
                    about = (name, run.config.eval.system_prompt, run.config.eval.generation_batch)
                    harness.measure_tasks(model, tokenizer, tasks, run.config.eval.lm_eval, about, world)
    del states  # room for a judge
    if labelled:
        _measure_judge(run, judge, *labelled, world)
    verdicts = _judge(run, judge, models, judged, world)
    if world.is_main:
        for name in models:
            for suite in here:
                score_suite(run, name, suite, verdicts.get((name, suite), {}))
        if {"noisy", "refit"} <= set(models):
            write_json(run.folder / "eval" / "gains.json", gains(run.folder, here, "noisy", "refit"))
    barrier()


def _pending_tasks(run: Run, model: str, about: dict[str, Any]) -> dict[str, tuple[Path, str]]:
    """The tasks of lm-evaluation-harness that the model was not measured on yet: their folders and identities."""
    options = run.config.eval.lm_eval
    found = {
        task: (
            folder(run, model, harness.suite_name(task)),
            harness.identity(options, task, about, run.config.eval.system_prompt),
        )
        for task in options.tasks
    }
    return {task: (place, wanted) for task, (place, wanted) in found.items() if harness.is_pending(place, wanted)}


def measured_names(run: Run) -> list[str]:
    """What a run's evaluation measures, in the config's order: its suites with prompts, and the harness's tasks."""
    return [*suites_with_prompts(run), *map(harness.suite_name, run.config.eval.lm_eval.tasks)]


Verdicts = dict[str, float | None]  # by prompt id


def score_suite(run: Run, model: str, suite: str, verdicts: Verdicts) -> dict[str, Metric]:
    """Scores and metrics from the stored outputs of a model; loads none. To be called by one process."""
    measured = suites.get(suite)
    rows, settings = _rows(run, measured), _settings(run)
    place = folder(run, model, suite)
    outputs, generations = read_outputs(measured, rows, place, _samples(run, measured))
    outputs = replace(outputs, verdicts=verdicts)
    scores = measured.score(rows, outputs, settings)
    metrics = measured.metrics(scores)
    (place / "metrics.json").unlink(missing_ok=True)  # the marker: it never stands beside scores that it is not of
    for name, table in (("generations", generations), ("scores", scores)):
        with atomic_path(place / f"{name}.parquet") as temporary:
            table.write_parquet(temporary)
    values = {name: asdict(metric) for name, metric in metrics.items()}
    told: dict[str, Any] = {"suite": suite, "model": model, "metrics": values}
    if measured.judged:
        told |= {"judge": settings.judge, "failed": sum(verdict is None for verdict in verdicts.values())}
    write_json(place / "metrics.json", told)
    return metrics


def _calibration(run: Run) -> tuple[list[Pair], list[bool]] | None:
    """The labelled answers of the config, read before any model is loaded; None without."""
    source = run.config.eval.judge.calibration
    return read_calibration(source) if source else None


def _measure_judge(run: Run, judge: Judge, pairs: list[Pair], labels: list[bool], world: World) -> None:
    """Writes the judge's agreement with labelled answers; to be called by every rank."""
    name = run.config.eval.judge.name
    agreed = agreement(labels, judge_all(judge, pairs, _cache(run), f"{name} on labelled answers"))
    if world.is_main:
        values = {metric: asdict(measured) for metric, measured in agreed.items()}
        write_json(agreement_file(run), {"judge": name, "metrics": values})


def _judge(
    run: Run, judge: Judge, models: list[str], judged: list[str], world: World
) -> dict[tuple[str, str], Verdicts]:
    """The verdicts on each model's answers that are not empty, by model and suite; to be called by every rank.

    What the judge could not judge is counted and said; UserError where that is more than the config allows.
    """
    config = run.config.eval.judge
    found: dict[tuple[str, str], Verdicts] = {}
    for model in models:
        for suite in judged:
            rows = _rows(run, suites.get(suite))
            texts = read_outputs(suites.get(suite), rows, folder(run, model, suite))[0].texts
            asked = [row for row in rows if texts[row["id"]].strip()]
            pairs = [(row["messages"][-1]["content"], texts[row["id"]]) for row in asked]
            verdicts = judge_all(judge, pairs, _cache(run), f"{config.name} judges {model}")
            found[model, suite] = dict(zip((row["id"] for row in asked), verdicts))
            _check_missing(judge, verdicts, config.max_missing, f"{config.name} on {suite} of {model}", world)
    return found


def _check_missing(judge: Judge, verdicts: list[float | None], most: float, what: str, world: World) -> None:
    if not (missing := sum(verdict is None for verdict in verdicts)):
        return
    troubles = sorted({trouble for trouble in gathered(judge.trouble) if trouble})
    told = f"{what}: no verdict on {missing} of {len(verdicts)} answers ({'; '.join(troubles)})"
    if missing > most * len(verdicts):
        raise UserError(f"{told}, more than eval.judge.max_missing={most}; what was judged is kept, run again to go on")
    if world.is_main:
        console.print(
            f"eval: {told}: they are missing, and asked for again by the next run", style="yellow", markup=False
        )


def agreement_file(run: Run) -> Path:
    """Where the judge's agreement with labelled answers is written."""
    return run.folder / "eval" / "judge.json"


def unfinished(run: Run) -> bool:
    """Whether an evaluation that is done lacks verdicts that another try may give."""
    paths = (folder(run, model, suite) / "metrics.json" for model in MODELS for suite in run.config.eval.suites)
    return any(read_json(path).get("failed") for path in paths if path.exists())


def input_hash(run: Run, model: str, suite: str) -> str:
    """The hash of all that a suite's metrics of a model depend on; a suite may have no prompts (it is left out)."""
    config = run.config
    prompts = _prompts(run, suites.get(suite))
    template = config.model.chat_template
    trained = _trained(run, model)
    return sha256_value(
        {
            "code": CODE_VERSION,
            "suite": suite,
            "prompts": sha256_file(prompts) if prompts.exists() else None,
            "base": _base(run).identity,
            "trained": folder_hash(trained, _cache(run)) if trained else None,
            "template": sha256_file(Path(template)) if template else None,
            "model": [config.model.dtype, config.model.attention],
            "eval": [config.eval.max_new_tokens, config.eval.generation_batch, asdict(_settings(run))],
            "asked": [config.eval.system_prompt, config.eval.cue, _sampled(run, suites.get(suite))],
            "judge": _judge_settings(run) if suites.get(suite).judged else None,
            "likelihoods": [config.score.batch_tokens, config.data.max_length, config.train.packing],
        }
    )


def suites_with_prompts(run: Run) -> list[str]:
    """The configured suites for which the mix stage wrote prompts, in the config's order."""
    return [name for name in run.config.eval.suites if _prompts(run, suites.get(name)).exists()]


def _prompts(run: Run, suite: suites.Suite) -> Path:
    return run.eval_prompts(suite.prompts or suite.name)


def _rows(run: Run, suite: suites.Suite) -> list[Row]:
    return read_prompts(_prompts(run, suite), suite.check, suite.prompted)


def _sampled(run: Run, suite: suites.Suite) -> Any:
    sampling = _sampling(run) if suite.sampled else None
    return sampling and asdict(sampling)


def _samples(run: Run, suite: suites.Suite) -> int:
    return run.config.eval.samples if suite.sampled else 1


def _sampling(run: Run) -> Sampling | None:
    options = run.config.eval
    several = options.samples > 1
    return Sampling(options.samples, options.temperature, options.top_p, run.config.seed) if several else None


def _settings(run: Run) -> suites.Settings:
    options = run.config.eval
    return suites.Settings(options.toxicity_scorer, options.bias_formula, options.judge.name)


def _judge_settings(run: Run) -> Any:
    """What the verdicts depend on, and not how they are asked for."""
    judge = run.config.eval.judge
    labelled = judge.calibration and [asdict(judge.calibration), fingerprint(judge.calibration)]
    return [judge.name, judge.model, judge.revision, judge.labels, judge.url, labelled]


def folder(run: Run, model: str, suite: str) -> Path:
    return run.folder / "eval" / model / suite


def _trained(run: Run, model: str) -> Path | None:
    """The folder of a trained state; None for M0."""
    if model not in MODELS:
        raise UserError(f"{model!r} is no model of a run{nearest(model, MODELS)}")
    if model == "base":
        return None
    path = run.model(model)
    if not any(path.glob("*config.json")):
        raise UserError(f"{path} holds no model: run the train stage for {model} first")
    return path


def _base(run: Run) -> ModelRef:
    return _resolved(run.config.model.name, run.config.model.revision, _cache(run))


@functools.cache
def _resolved(name: str, revision: str | None, cache: Path) -> ModelRef:
    return resolve(name, revision, cache)


def _cache(run: Run) -> Path:
    return Path(run.config.cache).expanduser()


def _dtype(run: Run, world: World) -> str:
    return compute_dtype(run.config.model.dtype, world.device, run.config.train.method == "qlora")


def _asking(run: Run, model: str, base: ModelRef, tokenizer: Any, attention: str, world: World) -> Asking:
    config = run.config
    trained = _trained(run, model)
    about = {
        "state": model,
        "base_model": base.identity,
        "trained": folder_hash(trained, _cache(run)) if trained else None,
        "tokenizer": tokens.tokenizer_identity(tokenizer),
        "chat_template": sha256_value(tokenizer.chat_template),
        "attention": attention,
        "dtype": _dtype(run, world),
        "device": world.device.type,
    }
    settings = (config.eval.max_new_tokens, config.eval.generation_batch)
    likelihoods = (config.score.batch_tokens, config.data.max_length)
    return Asking(
        tokenizer,
        world,
        about,
        *settings,
        *likelihoods,
        packing=config.train.packing,
        sampling=_sampling(run),
        system=config.eval.system_prompt,
        cue=config.eval.cue,
        cache=_cache(run),
    )
