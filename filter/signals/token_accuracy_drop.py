"""Drop in teacher-forced token accuracy: the share of label tokens that were the model's first choice, before - after.

Bounded like ROUGE-1 and without a generation; flat for tokens that were never learned.
Needs a scoring with score.tokens=true.

Example: first choices on 3 of 4 tokens before and 1 of 4 after: score 0.5.
"""

import polars as pl

from .base import Signal, where_tokens
from .stored import tokens

SIGNAL = Signal(
    name="token_accuracy_drop",
    needs=("num_tokens", "token_accuracy_drop"),
    expression=where_tokens(pl.col("token_accuracy_drop")),
    unit="share of tokens",
    doc="drop of the share of label tokens that are the model's first choice",
    stored=(tokens("token_accuracy_drop"),),
)
