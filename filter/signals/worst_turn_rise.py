"""Rise of the mean loss of the answer that was forgotten most: the largest l2 - l1 of a row's answers, in nats a token.

Of a chat with several answers one may be unsafe, and the mean over all of them hides it behind the others. The more
answers a row has the larger is the largest by chance, so compare rows of about as many, or trust the rule's probes.

Example: two answers, of 2 and 10 tokens, whose sums rise from 1 to 7 and from 20 to 21: rises 3 and 0.1, score 3.
"""

import polars as pl

from .base import Signal, where_tokens
from .stored import TURNS

SIGNAL = Signal(
    name="worst_turn_rise",
    needs=("num_tokens", "turn_rise_max"),
    expression=where_tokens(pl.col("turn_rise_max")),
    unit="nats a token",
    doc="largest rise of the mean loss of one of a row's answers",
    axis="rise of the worst answer's loss (nats a token)",
    stored=(TURNS,),
)
