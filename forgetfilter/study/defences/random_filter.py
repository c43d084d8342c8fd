"""A filter that knows nothing: it drops as many rows as the filter, but draws them at random.

What a filter gains over this one comes from which rows it drops, and not from how many. Probes are never dropped.
Example: the filter drops 110 of 400 rows; here 110 rows are drawn by the seed.
"""

import numpy as np
import polars as pl

from forgetfilter.study.defences.base import Defence


def drops(decisions: pl.DataFrame, seed: int) -> pl.Series:
    may = ~decisions["probe"] if "probe" in decisions.columns else pl.repeat(True, len(decisions), eager=True)
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(may.to_numpy()))[: int(decisions["drop"].sum())]
    dropped = np.zeros(len(decisions), dtype=np.bool_)
    dropped[drawn] = True
    return pl.Series(dropped)


DEFENCE = Defence(
    "random_filter",
    "M*: as many rows dropped as by forgetfilter, but at random",
    "refit",
    ("train-refit",),
    drops=drops,
    filters=True,
)
