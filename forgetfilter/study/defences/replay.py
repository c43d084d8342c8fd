"""Replay: the safe set is mixed into the noisy rows, and all are learned (a baseline of Zhao et al. 2024).

No row is dropped. The size of the safe set decides how much is replayed: vary `mixture.safe_size` for other ratios.
Example: 400 noisy rows and 120 safe ones are learned as one mixture of 520.
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
