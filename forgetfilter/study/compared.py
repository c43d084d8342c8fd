"""The results of a comparison's cells: values with intervals, paired differences, filter quality, and cost."""

from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

import polars as pl

from forgetfilter.config.schema import Config
from forgetfilter.files import write_json, write_text
from forgetfilter.report.loss_curves import logged, loss_curves
from forgetfilter.storage.formats import figures
from forgetfilter.storage.results import read_state, read_summary
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import scan_shards
from forgetfilter.storage.stage import Comparison, load
from forgetfilter.study import compare, compare_page
from forgetfilter.study.compare import Cell
from forgetfilter.study.members import DONE, progress_of, study_folder

NOTHING = "none"  # the name of the defence that all others are compared with
NO_RIVALS = ("none", "released")
Measured = dict[str, dict[str, dict[str, Any]]]


def gather(config: Config) -> dict[str, Any]:
    """Writes compare.json, compare.md and compare.html from the cells as they are now; returns the JSON value."""
    cells = compare.members(config)
    status = {cell.number: cell.status() for cell in cells}
    done = [cell for cell in cells if status[cell.number] == DONE]
    rows = {cell.number: _row(cell) for cell in done}
    value: dict[str, Any] = {
        **progress_of(config, {cell.config.name: status[cell.number] for cell in cells}),
        "defences": {cell.defence.name: cell.defence.doc for cell in cells},
        "ceilings": sorted({cell.defence.name for cell in cells if cell.defence.reads_labels}),
        "cells": list(rows.values()),
        "points": [{"point": point, "rows": _compared(own, rows)} for point, own in _by_point(done).items()],
    }
    if curves := _curves(done):
        value["curves"] = curves
    folder = study_folder(config, "compare")
    write_text(folder / "compare.md", compare_page.markdown(value))
    write_text(folder / "compare.html", compare_page.page(value))
    write_json(folder / "compare.json", value)
    return value


def _curves(done: Sequence[Cell]) -> dict[str, Any] | None:
    """The loss curves of the first cell that logged both finetunings, or else the noisy one; None without any."""
    cell = max(done, key=lambda one: len(logged(one.folder)), default=None)
    curves = loss_curves(cell.folder) if cell else {}
    return {"run": cell.config.name, "stages": curves} if cell and curves else None


def _by_point(cells: Sequence[Cell]) -> dict[str, dict[str, list[Cell]]]:
    """The cells as {POINT: {DEFENCE: [one cell for each seed]}}."""
    grouped: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        grouped.setdefault(cell.point, {}).setdefault(cell.defence.name, []).append(cell)
    return grouped


def _compared(cells: dict[str, list[Cell]], rows: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each defence at one point: its metrics with their differences, and its mean quality and cost.

    `rows` holds the quality and cost of each cell by its number.
    """
    measured = {name: _differences(own, own) for name, own in cells.items()}
    compared = []
    for name, own in cells.items():
        metrics = {
            suite: {metric: _value(one) for metric, one in metrics_of.items()}
            for suite, metrics_of in measured[name].items()
        }
        if name != NOTHING and NOTHING in cells:
            _add(metrics, "to_none", NOTHING, _differences(cells[NOTHING], own))
        for suite in metrics:
            if rival := _best_rival(suite, name, cells, measured):
                differences = _differences(cells[rival], own)
                _add(metrics, "to_rival", rival, {suite: differences[suite]} if suite in differences else {})
        each = [rows[cell.number] for cell in own]
        row = {"defence": name, "seeds": [cell.config.seed for cell in own], "metrics": metrics}
        compared.append(row | {key: _mean([one[key] for one in each]) for key in COSTS + QUALITY})
    return compared


def _value(one: dict[str, Any]) -> dict[str, Any]:
    value, low, high = one["b"] or (None, None, None)
    about = {key: one[key] for key in ("n", "missing", "better", "headline")}
    return {"value": value, "low": low, "high": high} | about


def _add(metrics: Measured, key: str, other: str, differences: Measured) -> None:
    """Adds the paired difference to another defence to each value."""
    for suite, own in differences.items():
        for metric, one in own.items():
            if metric in metrics.get(suite, {}):
                verdict = one["verdict"].replace("B ", "")
                difference = {name: one[name] for name in ("value", "low", "high", "n")}
                metrics[suite][metric][key] = difference | {"other": other, "verdict": verdict}


def _best_rival(suite: str, name: str, cells: dict[str, list[Cell]], measured: dict[str, Measured]) -> str | None:
    """The other real defence with the best headline value in a suite; None without one."""
    candidates = []
    for other, own in cells.items():
        if other == name or other in NO_RIVALS or own[0].defence.reads_labels:
            continue
        one = next((one for one in measured[other].get(suite, {}).values() if one["headline"]), None)
        if one and one["b"]:
            candidates.append((_badness(one["b"][0], one["better"]), other))
    return min(candidates)[1] if candidates else None


def _badness(value: float, better: str) -> float:
    return {"lower": value, "higher": -value, "zero": abs(value)}[better]


def _differences(first: Sequence[Cell], second: Sequence[Cell]) -> Measured:
    """The differences second - first over the seeds that both defences have."""
    seeds = {cell.config.seed: cell.evaluation for cell in first}
    pairs = [(seeds[cell.config.seed], cell.evaluation) for cell in second if cell.config.seed in seeds]
    if not pairs:
        return {}
    comparison = load("forgetfilter.eval.compare:COMPARISON", Comparison)
    return comparison.differences([one for one, _ in pairs], [other for _, other in pairs])


QUALITY = ("auroc", "precision", "recall", "f1", "dropped", "unsafe_left", "good_lost")
COSTS = ("seconds", "tokens")


def _row(cell: Cell) -> dict[str, Any]:
    """The cost of a cell and the quality of its filter. What a missing label or log leaves unknown is None."""
    about = {"run": cell.config.name, "point": cell.point, "defence": cell.defence.name, "seed": cell.config.seed}
    return about | _cost(cell) | dict.fromkeys(QUALITY) | (_quality(cell) if cell.defence.filters else {})


def _cost(cell: Cell) -> dict[str, Any]:
    """The seconds and answer tokens of the stages that the defence alone would need, whichever cell did them."""
    state = read_state(cell.folder)
    shared = {stage: entry["shared_with"] for stage, entry in state.items() if "shared_with" in entry}
    seconds = sum(state[stage]["seconds"] for stage in cell.defence.pays if stage in state)
    counted = [_tokens(RunPaths(cell.folder), stage) for stage in cell.defence.pays]
    known = [one for one in counted if one is not None]
    tokens = sum(known) if len(known) == len(counted) else None
    return {"seconds": round(seconds, 2), "tokens": tokens, "shared": shared}


def _tokens(paths: RunPaths, stage: str) -> int | None:
    """How many answer tokens a stage passed through a model; None where the trainings kept no log."""
    folders = {f"train-{name}": [paths.model(name) / "losses"] for name in ("noisy", "safe", "refit")}
    folders["score"] = [paths.signals(name) for name in ("before", "after")]
    if not all((folder / "manifest.json").exists() for folder in folders.get(stage, [])):
        return None
    counts: Iterator[int] = (
        scan_shards(folder).select(pl.col("num_tokens").sum()).collect().item() for folder in folders.get(stage, [])
    )
    return sum(counts)


def _quality(cell: Cell) -> dict[str, Any]:
    summary = read_summary(cell.folder)
    quality = figures(summary["quality"])
    told: dict[str, Any] = {key: quality.get(key) for key in ("precision", "recall", "f1")}
    told |= {"auroc": quality.get("auroc") if cell.defence.ranks else None, "dropped": summary["dropped"]}
    labels = summary.get("by_label") or {}
    unsafe, good = labels.get("unsafe"), [counts for label, counts in labels.items() if label != "unsafe"]
    if unsafe:
        told["unsafe_left"] = unsafe["kept"] / (unsafe["kept"] + unsafe["dropped"])
    if total := sum(counts["kept"] + counts["dropped"] for counts in good):
        told["good_lost"] = sum(counts["dropped"] for counts in good) / total
    return told


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) and known else None
