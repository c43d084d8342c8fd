"""The comparison of defences: a cell for each defence, seed and varied setting, and what is gathered of the cells.

A cell is an ordinary run, NAME-DEFENCE-SEED or NAME-SETTING=VALUE-DEFENCE-SEED. The gathered tables, picture and JSON
lie in OUTPUT/NAME-compare; they hold what is there, and name what is not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forgetfilter import pipeline
from forgetfilter.config.load import with_settings
from forgetfilter.config.schema import CompareConfig, Config
from forgetfilter.errors import UserError
from forgetfilter.storage.stage import Stage
from forgetfilter.study import defences
from forgetfilter.study.defences import Defence
from forgetfilter.study.members import Member

UNTIL = {"base": "mix", "noisy": "train-noisy", "safe": "train-safe", "refit": "train-refit"}
FIXED = ("name", "output", "cache", "seed", "scale", "compare", "launch", "tracking")  # a cell's own, or no outcome's


@dataclass(frozen=True, kw_only=True)
class Cell(Member):
    """One defence with one seed, at one point of the grid."""

    defence: Defence
    point: str
    """KEY=VALUE of the setting that is varied; empty for the configuration as it is."""

    @property
    def evaluation(self) -> Path:
        """The folder of what was measured of the defence's model."""
        return self.folder / "eval" / self.defence.model


def members(config: Config) -> list[Cell]:
    """All cells, those of a seed together. UserError for a defence that cannot work with the configuration."""
    if config.only_evaluates:
        raise UserError("compare needs data to train on: set data.noisy and data.safe, or a mixture")
    grid = config.compare or CompareConfig()
    points = dict(_points(replace(config, compare=None, scale=None), grid))
    chosen = [defences.get(name) for name in grid.defences]
    found: list[Cell] = []
    for seed in grid.seeds:
        for point, base in points.items():
            for defence in chosen:
                cell = Cell(
                    number=len(found),
                    config=_config(base, point, defence, seed),
                    stages=_stages(defence),
                    drops=defence.drops,
                    defence=defence,
                    point=point,
                )
                found.append(cell)
    return found


def folder_of(config: Config) -> Path:
    return Path(config.output).expanduser() / f"{config.name}-compare"


def _points(config: Config, grid: CompareConfig) -> Iterator[tuple[str, Config]]:
    """The configuration as it is, then with each value of each varied setting that is not its own."""
    yield "", config
    for key, values in grid.vary.items():
        if key.split(".")[0] in FIXED:
            raise UserError(
                f"compare.vary.{key} cannot be varied: compare.seeds takes seeds, and each cell has its name"
            )
        for value in values:
            changed = with_settings(config, {key: value}, f"compare.vary.{key}")
            if changed != config:
                yield f"{key}={value}", changed


def _config(base: Config, point: str, defence: Defence, seed: int) -> Config:
    slug = re.sub(r"[^\w.=+-]+", "-", point)
    name = "-".join(part for part in (base.name, slug, defence.name, str(seed)) if part)
    changes: dict[str, Any] = {**defence.settings(base), "eval.models": [defence.model], "name": name, "seed": seed}
    return with_settings(base, changes, f"compare.defences: {defence.name}")


def _stages(defence: Defence) -> tuple[Stage, ...]:
    """What is to be done for the defence's model, and to measure it; a report where there is a decision to tell of."""
    names = [stage.name for stage in pipeline.STAGES]
    needed = {
        *names[: names.index(UNTIL[defence.model]) + 1],
        "eval",
        *(["report"] if defence.model == "refit" else []),
    }
    return tuple(stage for stage in pipeline.STAGES if stage.name in needed)
