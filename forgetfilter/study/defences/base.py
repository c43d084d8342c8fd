"""What a defence is: the settings that it changes, and the model of the run that is its outcome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from forgetfilter.config.schema import Config
from forgetfilter.storage.run_paths import RunPaths

TRAININGS = ("train-noisy", "train-safe", "train-refit")


def unchanged(config: Config) -> dict[str, Any]:
    """The `settings` of defences that change none."""
    return {}


def by_signal(config: Config, signal: str) -> dict[str, Any]:
    """The filter with another signal and its rule; the rule phi becomes auto, because phi has the signal's unit."""
    own = {"filter.signal": signal, "filter.combine": []}
    return own | ({"filter.rule": "auto", "filter.phi": 0.0} if config.filter.rule == "phi" else {})


@dataclass(frozen=True)
class Defence:
    """One way to keep a finetuned model safe, as a cell of `forgetfilter compare` runs it."""

    name: str
    """The name by which `compare.defences` chooses it."""
    doc: str
    """One line for the legend of the tables."""
    model: Literal["base", "noisy", "safe", "refit"]
    """Which model of the run is the outcome: M0, M1, M2 or M*."""
    pays: tuple[str, ...]
    """The stages that this defence needs where it is used alone: their seconds and tokens are its cost. Other stages
    are done only for the comparison."""
    settings: Callable[[Config], Mapping[str, Any]] = unchanged
    """{KEY: VALUE} of the settings that it changes, as on the command line. UserError where it cannot work with the
    configuration, such as without a model that it needs."""
    drops: Callable[[pl.DataFrame, int], pl.Series] | None = None
    """Whether each row is dropped, [n], from the filter's own decisions (filter/decisions.parquet) and the seed. It
    overrules the rule through a review; without it the rule decides."""
    check: Callable[[RunPaths], None] | None = None
    """Checks the data of the run before anything is trained; UserError where the defence cannot work with them."""
    follows: str = ""
    """With several rounds, the defence from whose model the next round starts; empty for its own."""
    reads_labels: bool = False
    """Whether it knows the labels, which no real defence can. It is then a ceiling and never a rival."""
    filters: bool = False
    """Whether it drops rows, so that its filter quality can be measured."""
    ranks: bool = False
    """Whether it drops rows by a score, so that its AUROC can be measured."""
