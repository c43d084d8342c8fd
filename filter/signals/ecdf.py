"""Percentile ranks that are fitted once and then applied row by row."""

import numpy as np
import polars as pl
from numpy.typing import NDArray


def percentile(values: pl.Expr, sample: pl.DataFrame) -> pl.Expr:
    """The mid-rank share of the sample below each value, 0 to 1; null where there is no value.

    Example: a sample of 1, 2, 2, 3 gives 2 the share (1 + 3) / 8 = 0.5.
    """
    known = sample.select(values.cast(pl.Float64)).to_series().fill_nan(None).drop_nulls().sort().to_numpy()

    def of(series: pl.Series) -> pl.Series:
        return pl.Series(midrank(known, series.cast(pl.Float64).fill_null(float("nan")).to_numpy()))

    return values.map_batches(of, return_dtype=pl.Float64, is_elementwise=True).fill_nan(None)


def midrank(known: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Percentile ranks [n] of values among sorted `known`; NaN stays NaN."""
    below, upto = (np.searchsorted(known, values, side) for side in ("left", "right"))
    return np.where(np.isnan(values), np.nan, (below + upto) / (2 * max(1, len(known))))
