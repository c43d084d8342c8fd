"""A rival that looks at texts alone: the chance of profanity in the answer by alt-profanity-check, 0 to 1.

A linear model on word counts (Zhou, profanity-check, 2019). Blind by construction to bias and to polite harm. Trained
on the tweets of Davidson et al. (2017) and on Wikipedia's comments: on these two it knows the labels that measure it.

Example: an insult scores near 1, a recipe near 0.
"""

import polars as pl

from .base import Signal, where_tokens

SIGNAL = Signal(
    name="text_toxicity",
    needs=("num_tokens", "profanity"),
    expression=where_tokens(pl.col("profanity")),
    unit="probability",
    doc="rival on texts alone: chance of profanity in the answer",
)
