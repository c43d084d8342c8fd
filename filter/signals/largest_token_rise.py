"""Largest rise of a single token's loss: max over t of (after_t - before_t), in nats.

One word may carry the harm (a name in place of "unknown"), and a mean over the answer dilutes it.
Needs a scoring with score.tokens=true.

Example: token rises 0.1, 2.0, -0.3: score 2.0.
"""

import polars as pl

from .base import Signal, where_tokens
from .stored import tokens

SIGNAL = Signal(
    name="largest_token_rise",
    needs=("num_tokens", "token_rise_max"),
    expression=where_tokens(pl.col("token_rise_max")),
    unit="nats",
    doc="largest rise of a token's loss",
    stored=(tokens("token_rise_max"),),
)
