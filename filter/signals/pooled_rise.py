"""Relative loss rise pooled over rows that look alike: a cluster's mean percentile, and a quarter of the row's own.

The rise of one row is noisy; that of a family of rows is less so. With p the percentile rank of relative_loss_rise and
c the row's cluster (filter/texts/text_columns.py): (sum of p in c + 2 * 0.5) / (rows in c + 2) + p / 4, so that small
clusters say little (shrinkage as by two rows of no opinion). Strong where unsafe rows come in families and safe rows
share none with them; without families it is the relative rise with noise from the clusters.

Example: percentile 0.8 in a cluster of 0.8 and 0.6: (1.4 + 1) / 4 + 0.2 = 0.8.
"""

import polars as pl

from .base import LOSS_COLUMNS, Signal
from .ecdf import percentile
from .relative_loss_rise import SIGNAL as RELATIVE

PRIOR_ROWS, PRIOR_PERCENTILE, OWN_WEIGHT = 2, 0.5, 0.25


def pooled(score: pl.Expr, sample: pl.DataFrame, own_weight: float) -> pl.Expr:
    """A score's percentile, pooled over the clusters of the sample, and `own_weight` times the row's own."""
    own = percentile(score, sample)
    rows = sample.select("cluster", own=own).drop_nulls()
    total = pl.col("own").sum() + PRIOR_ROWS * PRIOR_PERCENTILE
    means = rows.group_by("cluster").agg(mean=total / (pl.len() + PRIOR_ROWS)).sort("cluster")
    family: pl.Expr = pl.lit(PRIOR_PERCENTILE)
    if len(means):
        family = pl.col("cluster").replace_strict(
            means["cluster"], means["mean"], default=PRIOR_PERCENTILE, return_dtype=pl.Float64
        )
    return family + own_weight * own


SIGNAL = Signal(
    name="pooled_rise",
    needs=(*LOSS_COLUMNS, "cluster"),
    fit=lambda sample: pooled(RELATIVE.bind(sample), sample, OWN_WEIGHT),
    unit="percentile, 0 to 1.25",
    doc="relative loss rise, pooled over rows that look alike",
)
