"""A rival that knows nothing: a number between 0 and 1 from the row's id, which is a hash of its content.

Whatever a signal is worth, it is worth more than this one's AUROC of 0.5.

Example: ids that begin with 00 score below those that begin with ff.
"""

import polars as pl

from .base import Signal

SIGNAL = Signal(
    name="chance",
    needs=("prefix", "num_tokens"),
    expression=pl.when(pl.col("num_tokens") > 0).then(pl.col("prefix").cast(pl.Float64) / 2.0**64),
    unit="1",
    doc="rival that knows nothing: by the id, a hash",
)
