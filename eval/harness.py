"""Tasks of lm-evaluation-harness, measured on the models of a run through the harness's Python API.

The harness computes a task's figures, but the model answers as everywhere in an evaluation: the settings of its
generation_config are not used, and an answer ends with the token that the model learned as the end. The interval is
added here: it is computed over the task's questions where the figure is their mean, and from the harness's standard
error otherwise. eval/MODEL/lm_eval-TASK/ holds metrics.json as for a suite, and scores.parquet with the figures of each
question. Each task is measured by one rank; a task that is there already is not measured again.
"""

import importlib.metadata
import math
from pathlib import Path
from typing import Any

import polars as pl

from forgetfilter.config.schema import HarnessConfig
from forgetfilter.errors import UserError, nearest, reason
from forgetfilter.files import atomic_path, read_json, sha256_file, sha256_value, write_json
from forgetfilter.models.plain_answers import by_own_settings, plain_settings, say_left_out
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import World, barrier

from .intervals import Metric, measure_mean
from .suites import harness_task

INSTALL = "eval.lm_eval.tasks needs lm-evaluation-harness: pip install 'forgetfilter[lm-eval]'"
CODE_VERSION = 2  # raise it when the figures of an unchanged model and task change
Z = 1.96  # standard errors of a 95% interval


def suite_name(task: str) -> str:
    """The name of a task in tables and folders."""
    return harness_task.PREFIX + task


def identity(config: HarnessConfig, task: str, about: Any, system: str) -> str:
    """The hash of everything that a task's figures depend on; `about` is the model's part of it."""
    options = [CODE_VERSION, config.limit, config.num_fewshot, config.chat_template, own_tasks(config), system]
    return sha256_value([task, options, about, version()])


def own_tasks(config: HarnessConfig) -> list[list[str]]:
    """The files below `include_path` with their hashes, so that a changed task is measured again."""
    if not config.include_path:
        return []
    folder = Path(config.include_path)
    return [[str(path.relative_to(folder)), sha256_file(path)] for path in sorted(folder.rglob("*")) if path.is_file()]


def version() -> str:
    """The version of the harness; UserError where it is not installed."""
    try:
        return importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(INSTALL) from error


def task_manager(config: HarnessConfig) -> Any:
    """The tasks of the harness and of `include_path`; UserError for a configured task that is not among them."""
    version()
    from lm_eval.tasks import TaskManager

    if config.include_path and not Path(config.include_path).is_dir():
        raise UserError(f"eval.lm_eval.include_path: {config.include_path} is no folder")
    manager = TaskManager(include_path=config.include_path)
    for task in config.tasks:
        if task not in manager.all_tasks:
            raise UserError(f"eval.lm_eval.tasks: there is no task {task!r}{nearest(task, list(manager.all_tasks))}")
    return manager


def is_pending(place: Path, wanted: str) -> bool:
    """Whether the figures of a task with that identity are not there yet."""
    path = place / "metrics.json"
    return not path.exists() or read_json(path).get("identity") != wanted


def measure_tasks(
    model: Any,
    tokenizer: Any,
    pending: dict[str, tuple[Path, str]],
    config: HarnessConfig,
    about: tuple[str, str, int],
    world: World,
) -> None:
    """Measures the pending tasks, given as {TASK: (folder, identity)}; to be called by every rank.

    `about` holds the model's name in the run, the system prompt, and how many requests go through the model together.
    Raises Stopped after a signal, between two tasks.
    """
    manager = task_manager(config)
    tasks = list(pending.items())
    for start in range(0, len(tasks), world.size):
        if start + world.rank < len(tasks):
            task, (place, wanted) = tasks[start + world.rank]
            found = _evaluated(model, tokenizer, task, manager, config, about[1:])
            metrics, scores = read_results(found, task)
            (place / "metrics.json").unlink(missing_ok=True)
            with atomic_path(place / "scores.parquet") as temporary:
                scores.write_parquet(temporary)
            told = {"suite": suite_name(task), "model": about[0], "identity": wanted, "lm_eval": version()}
            values = {name: metric.told() for name, metric in metrics.items()}
            write_json(
                place / "metrics.json", told | {"task_version": str(found["versions"].get(task)), "metrics": values}
            )
        barrier()
        interrupts.stop_if_requested(f"lm-evaluation-harness on {about[0]}")


def _evaluated(
    model: Any, tokenizer: Any, task: str, manager: Any, config: HarnessConfig, about: tuple[str, int]
) -> dict[str, Any]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    system, batch = about
    say_left_out(model, task)
    try:
        with by_own_settings(model, plain_settings(model, tokenizer)):
            found: dict[str, Any] = lm_eval.simple_evaluate(
                HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch),
                tasks=[task],
                task_manager=manager,
                num_fewshot=config.num_fewshot,
                limit=config.limit or None,
                apply_chat_template=config.chat_template,
                system_instruction=system or None,
                log_samples=True,
            )
    except Exception as error:  # tasks, data sets and the hub each raise types of their own
        raise UserError(f"eval.lm_eval.tasks: {task} cannot be measured: {reason(error)}") from error
    return found


def read_results(found: dict[str, Any], task: str) -> tuple[dict[str, Metric], pl.DataFrame]:
    """The metrics of a task or group, and a table of its questions with `id, source` and the figures of each.

    The table of a group is empty.
    """
    samples = found.get("samples", {}).get(task, [])
    better = found.get("higher_is_better", {}).get(task, {})
    metrics: dict[str, Metric] = {}
    columns: dict[str, dict[str, float]] = {}
    for key, value in found["results"][task].items():
        name, _, kind = key.partition(",")  # the metric and the harness's filter of the answers, such as "acc,none"
        if not kind or name.endswith("_stderr") or not isinstance(value, int | float):
            continue
        label = name if kind == "none" else f"{name},{kind}"
        rows = [row for row in samples if row.get("filter") == kind and isinstance(row.get(name), int | float)]
        columns[label] = {str(row["doc_id"]): float(row[name]) for row in rows}
        error = found["results"][task].get(f"{name}_stderr,{kind}")
        way = "lower" if better.get(name) is False else "higher"
        metrics[label] = _metric(float(value), list(columns[label].values()), error, _count(found, task), way)
    ids = sorted({id_ for column in columns.values() for id_ in column}, key=lambda id_: (len(id_), id_))
    figures = {label: [column.get(id_) for id_ in ids] for label, column in columns.items() if column}
    return metrics, pl.DataFrame(
        {"id": ids, "source": [task] * len(ids), **figures}, schema_overrides={"id": pl.String}
    )


def _metric(value: float, values: list[float], error: Any, count: int, better: str) -> Metric:
    if values and math.isclose(sum(values) / len(values), value, rel_tol=1e-6, abs_tol=1e-9):
        return measure_mean([*values], better)
    spread = Z * float(error) if isinstance(error, int | float) else math.nan
    if not math.isfinite(value):
        return Metric(None, None, None, 0, count, better)
    low, high = (value - spread, value + spread) if math.isfinite(spread) else (None, None)
    return Metric(value, low, high, count, 0, better)


def _count(found: dict[str, Any], task: str) -> int:
    """How many questions a task has, or all tasks of a group together."""
    counts = found.get("n-samples", {})
    parts = found.get("group_subtasks", {}).get(task) or [task]
    return sum(int(counts[part]["effective"]) for part in parts if part in counts)
