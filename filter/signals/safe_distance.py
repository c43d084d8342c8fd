"""A rival that looks at texts alone: 1 less the cosine to the most alike row of the safe set.

The space is that of filter/texts/text_columns.py. A row far from everything trusted may be unsafe, or only of
another subject.

Example: a copy of a safe row scores 0; a row that shares nothing with any scores 1.
"""

import polars as pl

from .base import Signal, where_tokens

SIGNAL = Signal(
    name="safe_distance",
    needs=("num_tokens", "safe_distance"),
    expression=where_tokens(pl.col("safe_distance")),
    unit="1 - cosine",
    doc="rival on texts alone: distance to the most alike safe row",
)
