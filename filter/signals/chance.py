"""A rival that knows nothing: a number between 0 and 1, a hash of the row's id.

Whatever a signal is worth, it is worth more than this one's AUROC of 0.5.

Example: of two rows the one with the higher hash scores higher, whatever happened to either.
"""

import polars as pl

from .base import Signal, where_tokens

SIGNAL = Signal(
    name="chance",
    needs=("key", "num_tokens"),
    expression=where_tokens(pl.col("key").cast(pl.Float64) / 2.0**64),
    unit="1",
    doc="rival that knows nothing: by the id, a hash",
)
