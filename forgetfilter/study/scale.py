"""The scaling study, which runs the pipeline for each model and seed and gathers the results.

A member is an ordinary run, NAME-MODEL-SEED. The gathered table, chart and JSON lie in OUTPUT/NAME-scale. They show the
members that are done and name the others, so a study with failed members can be gathered too.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from forgetfilter import pipeline
from forgetfilter.config.schema import Config
from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path, write_json, write_text
from forgetfilter.models.loading import resolve
from forgetfilter.report.verdict import direction
from forgetfilter.storage.formats import figures
from forgetfilter.storage.results import read_metrics, read_summary, read_time
from forgetfilter.storage.run_folder import Run
from forgetfilter.study.members import DONE, Member, progress_of, study_folder


def members(config: Config) -> list[Member]:
    """Every model with every seed, model by model. UserError without the section `scale`, or for equal names."""
    if config.scale is None:
        raise UserError("scale is missing: name scale.models and scale.seeds, such as scale.models=[A,B]")
    study: list[Member] = []
    taken: dict[str, str] = {}
    for model in config.scale.models:
        short = re.sub(r"[^\w.-]+", "-", Path(model).name) or "model"
        if taken.setdefault(short, model) != model:
            raise UserError(f"scale.models: {taken[short]} and {model} would both be called {short}")
        for seed in config.scale.seeds:
            name = f"{config.name}-{short}-{seed}"
            own = replace(config.model, name=model)
            one = replace(config, model=own, name=name, seed=seed, scale=None, compare=None)
            study.append(Member(number=len(study), config=one, stages=pipeline.stages_of(one)))
    return study


def gather(config: Config) -> dict[str, Any]:
    """Writes scale.json, scale.parquet and scale.html from the members as they are now; returns the JSON value."""
    from forgetfilter.study.scale_page import page

    rows = [_row(member) for member in members(config)]
    sizes = {row["model"]: row["parameters"] for row in rows if row["parameters"]}
    for row in rows:  # a member that failed takes the size from another one with the same model
        row["parameters"] = sizes.get(row["model"])
    value = progress_of(config, {row["run"]: row["status"] for row in rows})
    folder = study_folder(config, "scale")
    with atomic_path(folder / "scale.parquet") as temporary:
        pl.from_dicts(rows, _SCHEMA).write_parquet(temporary)
    value["rows"] = rows
    write_text(folder / "scale.html", page(value))
    write_json(folder / "scale.json", value)
    return value


_SCHEMA: dict[str, Any] = {
    "run": pl.String, "model": pl.String, "parameters": pl.Int64, "seed": pl.Int64, "status": pl.String,
    "seconds": pl.Float64, "signal": pl.String, "auroc": pl.Float64, "f1": pl.Float64,
    "suites": pl.List(pl.Struct({
        "suite": pl.String, "metric": pl.String, "better": pl.String, "before": pl.Float64, "after": pl.Float64,
    })),
}  # fmt: skip


def _row(member: Member) -> dict[str, Any]:
    """The results of a member. A member that is not done has only its status, because half a run is no result."""
    status = member.status()
    row: dict[str, Any] = dict.fromkeys(_SCHEMA) | {"run": member.config.name, "model": member.config.model.name}
    row |= {"seed": member.config.seed, "status": status, "suites": []}
    if status != DONE:
        return row
    safety = list(_safety(member.folder, "evaluation" in pipeline.stale(Run.open(member.folder))))
    summary = read_summary(member.folder)
    quality = figures(summary["quality"])
    seconds = sum(entry["seconds"] or 0.0 for entry in read_time(member.folder).values())
    row |= {"seconds": round(seconds, 2), "signal": summary["signal"], "suites": safety}
    return row | {"auroc": quality.get("auroc"), "f1": quality.get("f1"), "parameters": _parameters(member.config)}


def _safety(folder: Path, stale_refit: bool) -> Iterator[dict[str, Any]]:
    """Each metric before (M1, trained on everything) and after (M*, trained on the kept rows)."""
    for suite, measured in read_metrics(folder, stale_refit).items():
        for metric, models in measured.items():
            names = {"before": "noisy", "after": "refit"}
            values = {key: models[model]["value"] if model in models else None for key, model in names.items()}
            way = direction(metric, next(iter(models.values())))
            yield {"suite": suite, "metric": metric, "better": way, **values}


def _parameters(config: Config) -> int | None:
    """The number of parameters of M0, from the headers of its safetensors; None if M0 is no longer available."""
    from safetensors import safe_open

    try:
        folder = resolve(config.model.name, config.model.revision, Path(config.cache).expanduser()).path
    except UserError:
        return None
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as tensors:
            total += sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
    return total or None
