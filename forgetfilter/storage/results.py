"""Readers of what the stages have left in a run folder. `folder` is the run folder everywhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import polars as pl

from forgetfilter.config.schema import EvalConfig
from forgetfilter.errors import UserError
from forgetfilter.files import read_json, read_object
from forgetfilter.storage.formats import Metrics, StageTime, Summary

MODELS = ("base", "noisy", "safe", "refit")  # M0, M1, M2, M*: the order of every table and chart


def read_state(folder: Path) -> dict[str, Any]:
    """state.json: {STAGE: {"status", "input_hash", "start", "seconds", "world_size", ...}}, empty before any stage."""
    state = read_optional(folder / "state.json") or {}
    if not all(isinstance(entry, dict) for entry in state.values()):
        raise UserError(f"{folder / 'state.json'} is not as it was made: delete it to do all stages anew")
    return state


def read_set_rows(folder: Path) -> dict[str, int]:
    """How many rows the mix has put into each set: noisy, safe, and control where there is one."""
    summary = read_json(folder / "data" / "summary.json")
    return {name: summary[name]["rows"] for name in ("noisy", "safe", "control") if name in summary}


def is_decided(folder: Path) -> bool:
    """Whether the filter has decided in this run, to the end. An evaluation may come without a decision, or before it,
    and a filter that was stopped leaves the files of an earlier decision or parts of two."""
    done = read_state(folder).get("filter", {}).get("status") == "done"
    return done and (folder / "filter" / "summary.json").exists()


def read_summary(folder: Path) -> Summary:
    """filter/summary.json of a run."""
    path = folder / "filter" / "summary.json"
    if not path.exists():
        raise UserError(f"{path} is missing: run the filter stage first")
    return cast(Summary, read_object(path))


def read_decisions(folder: Path) -> pl.DataFrame:
    """filter/decisions.parquet, a row an example; its columns are in docs/filter.md."""
    path = folder / "filter" / "decisions.parquet"
    try:
        return pl.read_parquet(path, glob=False)  # a run may be called `a[1]`
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} is missing or not whole: run the filter stage again") from error


def read_dropped(folder: Path) -> Iterator[dict[str, Any]]:
    """The records of filter/dropped.jsonl, the most forgotten first, each with why it was dropped."""
    path = folder / "filter" / "dropped.jsonl"
    try:
        with open(path, encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or not whole: run the filter stage again") from error


def read_metrics(folder: Path, stale_refit: bool = False, by_part: bool = False) -> Metrics:
    """{SUITE: {METRIC: {MODEL: {"value", "low", "high", "n", "missing"}}}} of the evaluations that are there.

    An entry has "against" too where it was compared with other models on the same prompts: {MODEL: its paired
    difference from that one}. A `stale_refit`, one that is not of today's decision, is left out; metrics over a part
    of the prompts are there with `by_part` alone.
    """
    models = [model for model in MODELS if model != "refit" or not stale_refit]
    differences = _read_differences(folder)
    found: Metrics = {}
    for suite in measured_suites(folder):
        for model in models:
            path = folder / "eval" / model / suite / "metrics.json"
            for metric, measured in (read_optional(path) or {}).get("metrics", {}).items():
                if metric.endswith("]") and not by_part:
                    continue
                paired = {other: suites.get(suite, {}).get(metric) for other, suites in differences[model].items()}
                against = {other: one for other, one in paired.items() if one}
                entry = measured | {"against": against} if against else measured
                found.setdefault(suite, {}).setdefault(metric, {})[model] = entry
    return found


def _read_differences(folder: Path) -> dict[str, dict[str, Any]]:
    """{MODEL: {OTHER: {SUITE: {METRIC: the paired difference of MODEL from OTHER}}}} of every model."""
    stored = read_optional(folder / "eval" / "differences.json")
    if stored is None:  # an evaluation older than 2026-11-28
        stored = {"refit": {"noisy": read_optional(folder / "eval" / "gains.json") or {}}}
    return {model: stored.get(model, {}) for model in MODELS}


def read_errors(folder: Path) -> list[str]:
    """Sentences on how far the scoring of the run's suites was measured to err, each once."""
    found = (read_optional(path) or {} for path in sorted((folder / "eval").glob("*/*/metrics.json")))
    return list(dict.fromkeys(measured["error"] for measured in found if measured.get("error")))


def read_instruments(folder: Path) -> dict[str, str]:
    """{SUITE: what its numbers were made with}, for the suites that say so."""
    return {suite: str(told) for suite, told in _told(folder, "made_with").items()}


def read_headlines(folder: Path) -> dict[str, list[str]]:
    """{SUITE: its metrics that speak for it in a verdict} of the suites that say so."""
    return {suite: list(told) for suite, told in _told(folder, "headline").items()}


def _told(folder: Path, key: str) -> dict[str, Any]:
    """What the suites' metrics.json have under a key, by the first model that has it."""
    found = {}
    for suite in measured_suites(folder):
        told = [read_optional(folder / "eval" / model / suite / "metrics.json") or {} for model in MODELS]
        if first := next((one[key] for one in told if one.get(key)), None):
            found[suite] = first
    return found


def measured_suites(folder: Path) -> list[str]:
    """The suites and tasks that have metrics: first the default ones, then others, then tasks of lm-eval."""
    there = {path.parent.name for path in (folder / "eval").glob("*/*/metrics.json")}
    first = [suite for suite in EvalConfig().suites if suite in there]
    return first + sorted(there - {*first}, key=lambda name: (name.startswith("lm_eval-"), name))


def refit_metrics(folder: Path) -> list[Path]:
    """The files with the metrics of refit, current or not."""
    return list((folder / "eval" / "refit").glob("*/metrics.json"))


def read_time(folder: Path) -> dict[str, StageTime]:
    """{STAGE: {"status", "start", "seconds", "memory_gb", "gpu_gb", "world_size", "passes"}}, by their start.

    The report stage is left out, since it is not over while it writes this.
    """
    stages = {name: entry for name, entry in read_state(folder).items() if name != "report"}
    ordered = sorted(stages.items(), key=lambda item: (str(item[1].get("start", "")), item[0]))
    return {
        name: {
            "status": entry.get("status"),
            "start": entry.get("start"),
            "seconds": entry.get("seconds"),
            "memory_gb": entry.get("memory_gb"),
            "gpu_gb": entry.get("gpu_gb"),
            "world_size": entry.get("world_size"),
            "passes": entry.get("passes", {}),
        }
        for name, entry in ordered
    }


def scorings(signals: Path) -> list[str]:
    """The names of the scorings: before, after, and others that a signal may need."""
    there = (path.parent.relative_to(signals) for path in signals.rglob("manifest.json"))
    further = sorted(str(name) for name in there if name.name not in ("before-generations", "after-generations"))
    return ["before", "after", *(name for name in further if name not in ("before", "after", "texts"))]


def read_scalars(path: Path) -> dict[str, Any] | None:
    """The entries of a manifest that are plain values, or None without one."""
    manifest = read_optional(path)
    if manifest is None:
        return None
    return {key: value for key, value in manifest.items() if not isinstance(value, dict | list)}


def read_optional(path: Path) -> Any:
    """The object of a JSON file; None where the file is not there."""
    return read_object(path) if path.exists() else None
