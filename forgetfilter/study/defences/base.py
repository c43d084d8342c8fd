"""What a defence is: changes to the settings, and which model of the run then counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from forgetfilter.config.schema import Config
from forgetfilter.storage.run_paths import RunPaths

TRAININGS = ("train-noisy", "train-safe", "train-refit")


def unchanged(config: Config) -> dict[str, Any]:
    """For defences that keep the settings as they are."""
    return {}


def by_signal(config: Config, signal: str) -> dict[str, Any]:
    """The filter with another signal, and its rule as it is, but for phi: that is in the unit of one signal."""
    own = {"filter.signal": signal, "filter.combine": []}
    return own | ({"filter.rule": "auto", "filter.phi": 0.0} if config.filter.rule == "phi" else {})


@dataclass(frozen=True)
class Defence:
    """One way to keep a finetuned model safe, as a cell of `forgetfilter compare` runs it."""

    name: str
    """As `compare.defences` calls it."""
    doc: str
    """One line for the table's legend and docs/compare.md."""
    model: Literal["base", "noisy", "safe", "refit"]
    """Which model of the run is the outcome: M0, M1, M2 or M*."""
    pays: tuple[str, ...]
    """The stages that whoever uses this defence alone has to do: their seconds and tokens are its own. The others are
    done in the comparison only."""
    settings: Callable[[Config], Mapping[str, Any]] = unchanged
    """{KEY: VALUE} of the settings that it changes, as the command line would name them. UserError where it cannot work
    with the configuration, such as for want of a model."""
    drops: Callable[[pl.DataFrame, int], pl.Series] | None = None
    """[n] whether a row is dropped, from the filter's own decisions (filter/decisions.parquet) and the seed: takes the
    place of the rule, through a review. None leaves the rule to decide."""
    check: Callable[[RunPaths], None] | None = None
    """Looks at the data of the run before anything is trained; UserError where it cannot work with them."""
    follows: str = ""
    """With several rounds: the defence at whose model the next round begins; empty for its own."""
    reads_labels: bool = False
    """Whether it knows the labels, which no real defence can: a ceiling, never a rival."""
    filters: bool = False
    """Whether its decision is one of the rows, so that there is a quality to tell."""
    ranks: bool = False
    """Whether its decision follows a score, so that there is an AUROC to tell."""
