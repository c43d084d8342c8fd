"""The scaling study: the pipeline over models and seeds, a run a member, and what is gathered of them.

A member is an ordinary run, NAME-MODEL-SEED. The gathered table, chart and JSON lie in OUTPUT/NAME-scale; they hold
what is there, and name what is not: a study with failed members is gathered as it is.
"""

import math
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from forgetfilter import pipeline
from forgetfilter.config.schema import Config
from forgetfilter.errors import Stopped, UserError
from forgetfilter.files import atomic_path, write_json, write_text
from forgetfilter.models.loading import resolve
from forgetfilter.process import interrupts
from forgetfilter.process.progress import console
from forgetfilter.report import card as cards
from forgetfilter.storage.results import read_metrics, read_summary, read_time
from forgetfilter.storage.run_folder import Run, changed_settings

DONE, PENDING = "done", "pending"


@dataclass(frozen=True)
class Member:
    """One point of the study: `number` is its place among the members, which a job array counts by."""

    number: int
    model: str
    seed: int
    config: Config
    """The config of its run."""

    @property
    def folder(self) -> Path:
        return Path(self.config.output).expanduser() / self.config.name

    def status(self) -> str:
        """done; pending; how far it came (`failed at score`); or that it was made with other settings."""
        if not (self.folder / "config.yaml").exists() or not (self.folder / "state.json").exists():
            return PENDING
        run = Run.open(self.folder)
        if changed_settings(run.config, self.config):
            return "made with other settings"
        state = run.state()
        for stage in pipeline.STAGES:
            if stage.wanted(run) and (status := state.get(stage.name, {}).get("status", PENDING)) != DONE:
                return f"{status} at {stage.name}"
        return DONE


def members(config: Config) -> list[Member]:
    """Every model with every seed, the seeds of a model together. UserError without a study, or for equal names."""
    if config.scale is None:
        raise UserError("scale is missing: name scale.models and scale.seeds, such as scale.models=[A,B]")
    found: list[Member] = []
    taken: dict[str, str] = {}
    for model in config.scale.models:
        short = re.sub(r"[^\w.-]+", "-", Path(model).name) or "model"
        if taken.setdefault(short, model) != model:
            raise UserError(f"scale.models: {taken[short]} and {model} would both be called {short}")
        for seed in config.scale.seeds:
            settings = {"name": f"{config.name}-{short}-{seed}", "seed": seed, "scale": None}
            one = replace(config, model=replace(config.model, name=model), **settings)  # type: ignore[arg-type]
            found.append(Member(len(found), model, seed, one))
    return found


def study_folder(config: Config) -> Path:
    return Path(config.output).expanduser() / f"{config.name}-scale"


def run_member(config: Config, number: int, resume: bool = False) -> Run:
    """The whole pipeline of one member."""
    study = members(config)
    if not 0 <= number < len(study):
        raise UserError(f"--member {number} is not there: the study has members 0 to {len(study) - 1}")
    run = Run.create(study[number].config, resume)
    pipeline.run_pipeline(run)
    return run


def run_pending(config: Config, resume: bool = False) -> None:
    """Every member that is not done, one after the other. One that fails is told and costs the others nothing."""
    for member in members(config):
        if member.status() == DONE:
            continue
        console.rule(member.config.name)
        try:
            run_member(config, member.number, resume)
        except Stopped:
            raise
        except UserError as error:
            print(f"forgetfilter: {member.config.name}: {error}", file=sys.stderr)
        except Exception:  # a bug or a full GPU; the member stays pending
            traceback.print_exc()
        interrupts.stop_if_requested("between two members: the study")


def gather(config: Config) -> dict[str, Any]:
    """Writes scale.json, scale.parquet and scale.html of the members as they are now; returns the JSON value."""
    from forgetfilter.study.page import page

    study = members(config)
    rows = [_row(member) for member in study]
    sizes = {row["model"]: row["parameters"] for row in rows if row["parameters"]}
    for row in rows:  # a failed member has the size of its model's others
        row["parameters"] = sizes.get(row["model"])
    missing = [{"run": row["run"], "status": row["status"]} for row in rows if row["status"] != DONE]
    value: dict[str, Any] = {
        "name": config.name,
        "members": len(rows),
        "done": len(rows) - len(missing),
        "missing": missing,
    }
    folder = study_folder(config)
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
    """What is known of a member. Of one that is not done: its status alone, since half a run is no result."""
    status = member.status()
    row: dict[str, Any] = dict.fromkeys(_SCHEMA) | {"run": member.config.name, "model": member.model}
    row |= {"seed": member.seed, "status": status, "suites": []}
    if status != DONE:
        return row
    safety = list(_safety(member.folder, pipeline.has_stale_refit(Run.open(member.folder))))
    summary = read_summary(member.folder)
    quality = summary.get("quality") or {}
    seconds = sum(entry["seconds"] or 0.0 for entry in read_time(member.folder).values())
    row |= {"seconds": round(seconds, 2), "signal": summary["signal"], "suites": safety}
    return row | {"auroc": quality.get("auroc"), "f1": quality.get("f1"), "parameters": _parameters(member.config)}


def _safety(folder: Path, stale_refit: bool) -> Iterator[dict[str, Any]]:
    """Each metric before (M1, trained on everything) and after (M*, trained on what was kept)."""
    for suite, measured in read_metrics(folder, stale_refit).items():
        for metric, models in measured.items():
            values = {
                key: models.get(model, {}).get("value") for key, model in (("before", "noisy"), ("after", "refit"))
            }
            way = cards.direction(metric, next(iter(models.values())))
            yield {"suite": suite, "metric": metric, "better": way, **values}


def _parameters(config: Config) -> int | None:
    """Parameters of the released model, from the heads of its safetensors; None where it is not to be had any more."""
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
