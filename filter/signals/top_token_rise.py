"""Mean of the five largest token rises (of all, where there are fewer), in nats.

Between the largest rise, which is one token's noise, and the mean, which dilutes.
Needs a scoring with score.tokens=true.

Example: token rises 0.1, 2.0, -0.3: score 0.6.
"""

import polars as pl

from .base import Signal, where_tokens
from .stored import tokens

SIGNAL = Signal(
    name="top_token_rise",
    needs=("num_tokens", "token_rise_top"),
    expression=where_tokens(pl.col("token_rise_top")),
    unit="nats",
    doc="mean of the five largest token rises",
    stored=(tokens("token_rise_top"),),
)
