"""Replay: the safe set is mixed into the noisy rows, all of which are learned (a baseline of Zhao et al. 2024).

No row is dropped. How much is replayed is how much the safe set holds: vary `mixture.safe_size` for other ratios.
Example: 400 noisy rows and 120 safe ones: 520 are learned, in one mixture.
"""

from typing import Any

import polars as pl

from forgetfilter.config.schema import Config
from forgetfilter.study.defences.base import Defence


def settings(config: Config) -> dict[str, Any]:
    return {"train.refit.data": "kept_and_trusted"}


def drops(decisions: pl.DataFrame, seed: int) -> pl.Series:
    return pl.repeat(False, len(decisions), eager=True)


DEFENCE = Defence(
    "replay", "M0, finetuned on all noisy rows and the safe set", "refit", ("train-refit",), settings, drops
)
