"""Forgetting learned from text: a signal's percentile, and that of what the rows' texts let one expect of it.

One row's rise is noisy; what rows have in common is not. A regression from words to ranks (filter/foretell.py) learns
which texts were forgotten, and each row is foretold by a model that has not seen it. No labels, and no clusters.
"""

import polars as pl

from .base import Signal
from .ecdf import percentile


def column(base: Signal) -> str:
    """Of the joined table: the rank of the signal, as the texts foretell it."""
    return f"foretold_{base.name}"


def distilled(name: str, base: Signal, doc: str) -> Signal:
    """The signal made of another. Where nothing could be foretold it ranks as the other does."""

    def fit(sample: pl.DataFrame) -> pl.Expr:
        foretold = percentile(pl.col(column(base)), sample).fill_null(0.5)
        return percentile(base.bind(sample), sample) + foretold

    return Signal(
        name=name,
        needs=(*base.needs, column(base)),
        fit=fit,
        unit="percentile, 0 to 2",
        doc=doc,
        axis=f"{doc} (percentile)",
        stored=base.stored,
        foretold=(base,),
    )
