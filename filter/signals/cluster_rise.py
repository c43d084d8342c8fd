"""Loss rise compared with that of similar rows: (rise - median) / (spread + floor) within the row's cluster.

It takes out what a whole kind of text forgets, and with it families of unsafe rows that look alike. The
clusters are those of filter/texts/text_columns.py; the rest is as in conditional_rise.

Example: see conditional_rise, with a cluster for a cell.
"""

import polars as pl

from .base import LOSS_COLUMNS, Signal
from .conditional_rise import RISE, normalised

SIGNAL = Signal(
    name="cluster_rise",
    needs=(*LOSS_COLUMNS, "cluster"),
    fit=lambda sample: normalised(RISE, pl.col("cluster"), sample),
    unit="spreads",
    doc="loss rise less the median of its cluster of rows that look alike, over its spread",
)
