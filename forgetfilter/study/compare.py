"""The cells of a comparison of defences: one for each defence, seed and varied setting.

A cell is an ordinary run, NAME-DEFENCE-SEED or NAME-POINT-DEFENCE-SEED. The gathered tables, picture and JSON lie in
OUTPUT/NAME-compare. They show the cells that are done and name the others.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forgetfilter import pipeline
from forgetfilter.config.load import to_dict, with_settings
from forgetfilter.config.schema import CompareConfig, Config
from forgetfilter.errors import UserError
from forgetfilter.files import sha256_value
from forgetfilter.storage.stage import Stage
from forgetfilter.study import defences
from forgetfilter.study.defences import Defence
from forgetfilter.study.members import DONE, OUTCOME, Member

UNTIL = {"base": "mix", "noisy": "train-noisy", "safe": "train-safe", "refit": "train-refit"}
SAME_M2 = ("name", "filter", "eval", "train.refit")  # the settings that M2 and the scores do not depend on
SAME_M1 = (*SAME_M2, "score", "train.safe", "train.control", "data.safe_tasks")  # those that M1 does not depend on
# Settings that each cell has by itself, or that change no outcome, and so cannot be varied.
FIXED = ("name", "output", "cache", "seed", "scale", "compare", "launch", "tracking")


@dataclass(frozen=True, kw_only=True)
class Cell(Member):
    """One defence with one seed at one point of the grid."""

    defence: Defence
    round: int
    point: str
    """The round, if it is not the first, and KEY=VALUE of the varied setting; empty for the configuration itself."""

    @property
    def evaluation(self) -> Path:
        """The folder of the evaluation of the defence's model."""
        return self.folder / "eval" / self.defence.model


def members(config: Config) -> list[Cell]:
    """All cells, seed by seed. UserError for a defence that cannot work with the configuration."""
    if config.only_evaluates:
        raise UserError("compare needs data to train on: set data.noisy and data.safe, or a mixture")
    grid = config.compare or CompareConfig()
    points = list(_points(replace(config, compare=None, scale=None), grid))
    chosen = [defences.get(name) for name in grid.defences]
    for defence in chosen if grid.rounds > 1 else ():
        if defence.model != "base" and (defence.follows or defence.name) not in grid.defences:
            raise UserError(f"compare.defences: with several rounds {defence.name} needs {defence.follows} beside it")
    cells = [
        cell
        for seed in grid.seeds
        for point, base in points
        for cell in _rounds(base, point, chosen, seed, grid.rounds)
    ]
    return [replace(cell, number=number) for number, cell in enumerate(cells)]


def _rounds(base: Config, point: str, chosen: list[Defence], seed: int, rounds: int) -> Iterator[Cell]:
    """The cells of one point and seed. A defence that trains nothing has only a first round."""
    earlier: dict[str, Cell] = {}
    for number in range(1, rounds + 1):
        again = [defence for defence in chosen if number == 1 or defence.model != "base"]
        earlier = {defence.name: _cell(base, (number, point), defence, seed, earlier) for defence in again}
        yield from earlier.values()


def _cell(base: Config, place: tuple[int, str], defence: Defence, seed: int, earlier: Mapping[str, Cell]) -> Cell:
    """One cell. `place` is its round and point; `earlier` holds the cells of the round before by their defences."""
    number, varied = place
    point = ", ".join(part for part in (f"round {number}" if number > 1 else "", varied) if part)
    slug = re.sub(r"[^\w.=+-]+", "-", point)
    name = "-".join(part for part in (base.name, slug, defence.name, str(seed)) if part)
    changes: dict[str, Any] = {**defence.settings(base), "eval.models": [defence.model], "name": name, "seed": seed}
    before = earlier.get(defence.follows or defence.name)
    if before:
        changes |= {"model.name": str(before.folder / OUTCOME), "model.revision": None}
    return Cell(
        number=0,
        config=with_settings(base, changes, f"compare.defences: {defence.name}"),
        stages=_stages(defence),
        drops=defence.drops,
        check=defence.check,
        start=(before, before.defence.model) if before else None,
        defence=defence,
        round=number,
        point=point,
    )


def _points(config: Config, grid: CompareConfig) -> Iterator[tuple[str, Config]]:
    """The configuration itself, then the configuration with each other value of each varied setting."""
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


def _stages(defence: Defence) -> tuple[Stage, ...]:
    """The stages that make and measure the defence's model, and the report where a filter decided."""
    names = [stage.name for stage in pipeline.STAGES]
    needed = {
        *names[: names.index(UNTIL[defence.model]) + 1],
        "eval",
        *(["report"] if defence.model == "refit" else []),
    }
    return tuple(stage for stage in pipeline.STAGES if stage.name in needed)


def waves(study: Sequence[Member]) -> list[str]:
    """The pending cells in waves: those that train M1 for others, then those that train M2 and score, then the rest."""
    pending = [cell for cell in study if isinstance(cell, Cell) and cell.status() != DONE]
    by_wave: dict[int, list[int]] = {}
    for number in sorted({cell.round for cell in pending}):
        left = sorted((cell for cell in pending if cell.round == number), key=lambda cell: -len(cell.stages))
        covered: list[Cell] = []
        for wave, shared in enumerate((SAME_M1, SAME_M2)):
            known = {_shared(cell, shared) for cell in covered}
            first = {key: cell for cell in reversed(left) if (key := _shared(cell, shared)) not in known}
            by_wave[3 * number + wave] = [cell.number for cell in first.values()]
            covered += first.values()
            left = [cell for cell in left if cell not in covered]
        by_wave[3 * number + 2] = [cell.number for cell in left]
    return [",".join(map(str, sorted(numbers))) for numbers in by_wave.values() if numbers] or [""]


def _shared(cell: Cell, without: tuple[str, ...]) -> str:
    """The hash of the settings that a model of the cell depends on, which leaves out those of later stages.

    A cell that trains less than another has the same hash, and takes over what the other has made.
    """
    plain = to_dict(cell.config)
    for key in without:
        section, _, name = key.partition(".")
        if name:
            plain[section].pop(name)
        else:
            plain.pop(section)
    return sha256_value(plain)
