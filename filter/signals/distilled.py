"""Forgetting learned from text: the percentile of a signal, combined with that of its forecast from the rows' texts.

The rise of one row is noisy; what many rows have in common is less so. A regression from words to numbers that grow
with the rank (filter/foretell.py) learns which texts were forgotten most, and each row is foretold by a model that has
not seen it. The weight of the forecast depends on the correlation r of forecasts and numbers: with w = min(1, max(0, 2
r)) the score is (1 - (1 - OWN) w) * own percentile + w * percentile of the forecast. Labels are not used.
"""

import numpy as np
import polars as pl

from .base import Signal
from .ecdf import percentile

TAIL = 3.0  # power of the ranks, 0 to 1, that is foretold; it gives most weight to what is forgotten most
OWN = 0.25  # weight of a row's own rank beside a forecast that has proved itself
TRUST = 2.0  # weight of the forecast for each unit of the correlation, up to 1


def column(base: Signal) -> str:
    """The column of the joined table with what the texts foretell of the signal's rank."""
    return f"foretold_{base.name}"


def distilled(name: str, base: Signal, doc: str) -> Signal:
    """The signal that is made of another one. Where nothing could be foretold it ranks as the other does."""

    def fit(sample: pl.DataFrame) -> pl.Expr:
        own, foretold = percentile(base.bind(sample), sample), pl.col(column(base))
        weight = _weight(sample.select(own=own, foretold=foretold).drop_nulls().drop_nans())
        return (1 - (1 - OWN) * weight) * own + weight * percentile(foretold, sample).fill_null(0.5)

    return Signal(
        name=name,
        needs=(*base.needs, column(base)),
        fit=fit,
        unit="percentile, 0 to 1.25",
        doc=doc,
        axis=f"{doc} (percentile)",
        stored=base.stored,
        foretold=(base,),
    )


def _weight(known: pl.DataFrame) -> float:
    numbers, foretold = known["own"].to_numpy() ** TAIL, known["foretold"].to_numpy()
    if len(known) < 2 or min(np.ptp(numbers), np.ptp(foretold)) == 0:
        return 0.0
    return float(np.clip(TRUST * np.corrcoef(numbers, foretold)[0, 1], 0, 1))
