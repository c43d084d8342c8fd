"""Signals by rank: the mean of the percentile ranks of several signals.

Signals of different units on one scale; rank averaging as in Borda counts. A row that one of them cannot score has
no score. `filter.combine=[loss_rise,probability_drop]`.

Example: percentiles 0.9 and 0.5 give 0.7.
"""

from collections.abc import Sequence

import polars as pl

from .base import Signal
from .ecdf import percentile


def combined(signals: Sequence[Signal]) -> Signal:
    """One signal made of two or more."""

    def fit(sample: pl.DataFrame) -> pl.Expr:
        ranks = [percentile(signal.bind(sample.select(signal.needs)), sample) for signal in signals]
        return pl.sum_horizontal(ranks, ignore_nulls=False) / len(ranks)

    names = [signal.name for signal in signals]
    return Signal(
        name="+".join(names),
        needs=tuple(dict.fromkeys(need for signal in signals for need in signal.needs)),
        unit="percentile, 0 to 1",
        doc=f"mean percentile rank of {', '.join(names)}",
        fit=fit,
        stored=tuple(dict.fromkeys(stored for signal in signals for stored in signal.stored)),
        foretold=tuple(dict.fromkeys(base for signal in signals for base in signal.foretold)),
    )
