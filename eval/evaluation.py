"""An evaluation: prompts, generations, scores and metrics for each model and suite of a run.

Outputs are stored before anything is judged or scored, so both can be repeated without the model. In eval/MODEL/SUITE/
generations.parquet, scores.parquet and metrics.json are written in this order, each whole or not at all.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from forgetfilter.config.schema import JudgeConfig
from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path, write_json
from forgetfilter.models.loading import States
from forgetfilter.process.distributed import World, barrier
from forgetfilter.process.progress import console

from . import harness, inputs, suites
from .intervals import Metric
from .judges import Judge, open_judge
from .judges.agreement import read_calibration
from .judges.judging import Verdicts, judge_answers, measure_judge
from .outputs import Asking, ask, is_pending, lacks_answers, read_outputs
from .paired import write_differences
from .prompts import PromptRow
from .scorers import open_scorer
from .task import Evaluation


def evaluate(evaluation: Evaluation, models: list[str], world: World) -> None:
    """Measures the models on every suite that has prompts; to be called by every rank.

    Raises Stopped after a signal.
    """
    asked = inputs.suites_with_prompts(evaluation)
    judged = [name for name in asked if suites.get(name).judged]
    _check(evaluation, models, asked, world)
    judge = _open_judge(evaluation, judged, world)
    labelled = (
        read_calibration(evaluation.options.judge.calibration)
        if judged and evaluation.options.judge.calibration
        else None
    )
    rows = {name: inputs.rows(evaluation, suites.get(name)) for name in asked}
    if world.is_main:
        _tell_what_is_left_out(evaluation, asked)
    _answer(evaluation, models, rows, world)
    if labelled:
        pairs, labels = labelled
        measure_judge(evaluation, judge, pairs, labels, world)
    elif world.is_main:  # the file may be that of an earlier judge
        evaluation.agreement_file.unlink(missing_ok=True)
    verdicts = judge_answers(evaluation, judge, models, judged, world)
    if world.is_main:
        for name in models:
            for suite in asked:
                score_suite(evaluation, name, suite, verdicts.get((name, suite), {}))
        write_differences(evaluation.paths.folder, asked, models)
    barrier()


def _check(evaluation: Evaluation, models: list[str], asked: list[str], world: World) -> None:
    """Refuses, before any model is loaded, what cannot be measured."""
    for name in models:
        inputs.trained(evaluation, name)
    if evaluation.options.lm_eval.tasks and world.is_main:
        harness.task_manager(evaluation.options.lm_eval)
    if "toxicity" in asked and world.is_main:
        open_scorer(evaluation.options.toxicity_scorer, tuple(evaluation.options.toxicity_labels))


def _open_judge(evaluation: Evaluation, judged: list[str], world: World) -> Judge:
    wanted = evaluation.options.judge if judged else JudgeConfig()  # without answers to judge no guard is fetched
    return open_judge(
        wanted, evaluation.model.plain_dtype(world.device), world.device, evaluation.model.cache, world.size
    )


def _tell_what_is_left_out(evaluation: Evaluation, asked: list[str]) -> None:
    if without := [name for name in evaluation.options.suites if name not in asked]:
        console.print(f"eval: leaves out {', '.join(without)}, for which there are no prompts")
    if unasked := inputs.unasked(evaluation):
        console.print(
            f"eval: leaves out {', '.join(unasked)}, whose prompts are there but which eval.suites does not name"
        )


def _answer(evaluation: Evaluation, models: list[str], rows: dict[str, list[PromptRow]], world: World) -> None:
    """Writes what the models have not answered yet. No model stays loaded, because a judge needs the memory."""
    tokenizer = evaluation.model.tokenizer()
    states = States(evaluation.base, evaluation.model.on(world.device))
    for name in models:
        asking = inputs.asking(evaluation, name, tokenizer, world)
        places = {suite: evaluation.folder(name, suite) for suite in rows}
        pending = {s: asked for s, asked in rows.items() if is_pending(suites.get(s), asked, places[s], asking)}
        tasks = _pending_tasks(evaluation, name, asking.model)
        barrier()
        if asking.backend == "vllm":
            _check_answered(evaluation, name, rows, asking)
        if pending or tasks:
            _ask_all(evaluation, name, states, pending, tasks, asking)


def _ask_all(
    evaluation: Evaluation,
    name: str,
    states: States,
    pending: dict[str, list[PromptRow]],
    tasks: dict[str, tuple[Path, str]],
    asking: Asking,
) -> None:
    """Writes one model's answers to the pending suites and tasks. The model does not stay loaded."""
    options = evaluation.options
    with states.use(inputs.trained(evaluation, name)) as model:
        for suite, asked in pending.items():
            ask(model, suites.get(suite), asked, evaluation.folder(name, suite), asking, f"{suite} of {name}")
        if tasks:
            about = (name, options.system_prompt, asking.generation_batch)
            harness.measure_tasks(model, asking.tokenizer, tasks, options.lm_eval, about, asking.world)


def _pending_tasks(evaluation: Evaluation, model: str, about: dict[str, Any]) -> dict[str, tuple[Path, str]]:
    """The folder and identity of each task of lm-evaluation-harness that the model was not measured on yet."""
    options, system = evaluation.options.lm_eval, evaluation.options.system_prompt
    tasks = {
        name: (evaluation.folder(model, harness.suite_name(name)), harness.identity(options, name, about, system))
        for name in options.tasks
    }
    return {name: (place, wanted) for name, (place, wanted) in tasks.items() if harness.is_pending(place, wanted)}


def _check_answered(evaluation: Evaluation, model: str, rows: dict[str, list[PromptRow]], asking: Asking) -> None:
    for name, asked in rows.items():
        if lacks_answers(suites.get(name), asked, evaluation.folder(model, name), asking):
            raise UserError(f"{name} of {model}: answers by vLLM are missing: forgetfilter eval makes them first")


def score_suite(evaluation: Evaluation, model: str, suite: str, verdicts: Verdicts) -> dict[str, Metric]:
    """Writes the scores and metrics from the stored outputs of a model, which is not loaded.

    To be called by one process.
    """
    measured = suites.get(suite)
    rows, settings = inputs.rows(evaluation, measured), inputs.scoring_settings(evaluation)
    place = evaluation.folder(model, suite)
    outputs, generations = read_outputs(measured, rows, place, evaluation.options.samples if measured.sampled else 1)
    outputs = replace(outputs, verdicts=verdicts)
    scores = measured.score(rows, outputs, settings)
    metrics = measured.metrics(scores)
    (place / "metrics.json").unlink(missing_ok=True)  # the marker must never stand beside other scores than its own
    for name, table in (("generations", generations), ("scores", scores)):
        with atomic_path(place / f"{name}.parquet") as temporary:
            table.write_parquet(temporary)
    values = {name: metric.told() for name, metric in metrics.items()}
    told: dict[str, Any] = {"suite": suite, "model": model, "metrics": values}
    if made_with := measured.made_with(settings):
        told["made_with"] = made_with
    if measured.headline:
        told["headline"] = measured.headline
    if measured.judged:
        told |= {"judge": settings.judge, "failed": sum(verdict is None for verdict in verdicts.values())}
    if measured.error:
        told["error"] = measured.error
    write_json(place / "metrics.json", told)
    return metrics
