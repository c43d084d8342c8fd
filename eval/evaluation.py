"""An evaluation: prompts, generations, scores, metrics, for each model and suite of a run.

Outputs are stored before anything is judged or scored, so both work again without the model. In eval/MODEL/SUITE/
generations.parquet, scores.parquet and metrics.json are written in this order, each whole or not at all.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from forgetfilter.config.schema import JudgeConfig
from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path, write_json
from forgetfilter.models.loading import States
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.distributed import World, barrier
from forgetfilter.process.progress import console
from forgetfilter.storage.run_folder import Run

from . import harness, inputs, suites
from .intervals import Metric
from .judges import open_judge
from .judges.judging import Verdicts, agreement_file, calibration, judge_answers, measure_judge
from .outputs import Asking, ask, is_pending, lacks_answers, read_outputs
from .paired import gains
from .prompts import Row
from .scorers import open_scorer


def evaluate(run: Run, models: list[str], world: World) -> None:
    """Measures the models on every suite that has prompts; to be called by every rank. Stopped after a signal."""
    for name in models:
        inputs.trained(run, name)  # refused before any model is loaded
    if run.config.eval.lm_eval.tasks and world.is_main:
        harness.task_manager(run.config.eval.lm_eval)
    here = inputs.suites_with_prompts(run)
    if "toxicity" in here and world.is_main:
        open_scorer(run.config.eval.toxicity_scorer, tuple(run.config.eval.toxicity_labels))
    judged = [name for name in here if suites.get(name).judged]
    wanted = run.config.eval.judge if judged else JudgeConfig()  # of nobody's answers: no guard is fetched for it
    judge_dtype = ModelSettings.of(run.config).plain_dtype(world.device)
    judge = open_judge(wanted, judge_dtype, world.device, inputs.cache(run), world.size)
    labelled = calibration(run) if judged else None
    rows = {name: inputs.rows(run, suites.get(name)) for name in here}
    if world.is_main and (without := [name for name in run.config.eval.suites if name not in here]):
        console.print(f"eval: no prompts for {', '.join(without)}: left out")
    if world.is_main and (unasked := inputs.unasked(run)):
        console.print(f"eval: prompts for {', '.join(unasked)} are there, but not in eval.suites: not measured")
    tokenizer = inputs.tokenizer(run)
    states = States(inputs.base(run), ModelSettings.of(run.config).on(world.device))
    for name in models:
        asking = inputs.asking(run, name, tokenizer, world)
        pending = [s for s in here if is_pending(suites.get(s), rows[s], inputs.folder(run, name, s), asking)]
        tasks = _pending_tasks(run, name, asking.model)
        barrier()
        if asking.backend == "vllm":
            _check_answered(run, name, rows, asking)
        if pending or tasks:
            _ask_all(run, name, states, {suite: rows[suite] for suite in pending}, tasks, asking)
    del states  # room for a judge
    if labelled:
        measure_judge(run, judge, *labelled, world)
    elif world.is_main:  # perhaps of an earlier judge
        agreement_file(run).unlink(missing_ok=True)
    verdicts = judge_answers(run, judge, models, judged, world)
    if world.is_main:
        for name in models:
            for suite in here:
                score_suite(run, name, suite, verdicts.get((name, suite), {}))
        if {"noisy", "refit"} <= set(models):
            write_json(run.folder / "eval" / "gains.json", gains(run.folder, here, "noisy", "refit"))
    barrier()


def _ask_all(
    run: Run,
    name: str,
    states: States,
    pending: dict[str, list[Row]],
    tasks: dict[str, tuple[Path, str]],
    asking: Asking,
) -> None:
    """A model's answers to the pending suites and tasks. Nothing holds the model afterwards: others need room."""
    with states.use(inputs.trained(run, name)) as model:
        for suite, asked in pending.items():
            ask(model, suites.get(suite), asked, inputs.folder(run, name, suite), asking, f"{suite} of {name}")
        if tasks:
            about = (name, run.config.eval.system_prompt, run.config.eval.generation_batch)
            harness.measure_tasks(model, asking.tokenizer, tasks, run.config.eval.lm_eval, about, asking.world)


def _pending_tasks(run: Run, model: str, about: dict[str, Any]) -> dict[str, tuple[Path, str]]:
    """The tasks of lm-evaluation-harness that the model was not measured on yet: their folders and identities."""
    options = run.config.eval.lm_eval
    found = {
        task: (
            inputs.folder(run, model, harness.suite_name(task)),
            harness.identity(options, task, about, run.config.eval.system_prompt),
        )
        for task in options.tasks
    }
    return {task: (place, wanted) for task, (place, wanted) in found.items() if harness.is_pending(place, wanted)}


def _check_answered(run: Run, model: str, rows: dict[str, list[Row]], asking: Asking) -> None:
    for name, asked in rows.items():
        if lacks_answers(suites.get(name), asked, inputs.folder(run, model, name), asking):
            raise UserError(f"{name} of {model}: answers by vLLM are missing: forgetfilter eval makes them first")


def score_suite(run: Run, model: str, suite: str, verdicts: Verdicts) -> dict[str, Metric]:
    """Scores and metrics from the stored outputs of a model; loads none. To be called by one process."""
    measured = suites.get(suite)
    rows, settings = inputs.rows(run, measured), inputs.settings(run)
    place = inputs.folder(run, model, suite)
    outputs, generations = read_outputs(measured, rows, place, inputs.samples(run, measured))
    outputs = replace(outputs, verdicts=verdicts)
    scores = measured.score(rows, outputs, settings)
    metrics = measured.metrics(scores)
    (place / "metrics.json").unlink(missing_ok=True)  # the marker: it never stands beside scores that it is not of
    for name, table in (("generations", generations), ("scores", scores)):
        with atomic_path(place / f"{name}.parquet") as temporary:
            table.write_parquet(temporary)
    values = {name: asdict(metric) for name, metric in metrics.items()}
    told: dict[str, Any] = {"suite": suite, "model": model, "metrics": values}
    if made_with := measured.made_with(settings):
        told["made_with"] = made_with
    if measured.judged:
        told |= {"judge": settings.judge, "failed": sum(verdict is None for verdict in verdicts.values())}
    if measured.error:
        told["error"] = measured.error
    write_json(place / "metrics.json", told)
    return metrics
