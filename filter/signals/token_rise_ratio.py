"""Mean over spread of the token rises: mean / (standard deviation + 0.05).

How steadily the whole answer was forgotten (the mean in units of its own spread); the 0.05 nats bound it.
Needs a scoring with score.tokens=true.

Example: token rises 1.0 and 3.0: mean 2, standard deviation (of the population) 1, score 1.905.
"""

import polars as pl

from .base import Signal, where_tokens
from .stored import tokens

SIGNAL = Signal(
    name="token_rise_ratio",
    needs=("num_tokens", "token_rise_ratio"),
    expression=where_tokens(pl.col("token_rise_ratio")),
    unit="1",
    doc="mean over spread of the token rises",
    stored=(tokens("token_rise_ratio"),),
)
