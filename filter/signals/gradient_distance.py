"""A rival that follows influence, not forgetting: 1 less the largest cosine of a row's gradient to a safe row's.

LESS (Xia et al., ICML 2024, arXiv 2402.04333) selects the training rows whose gradients in LoRA space, randomly
projected, point in the direction of those of a few trusted rows. Here rows whose gradients point elsewhere score high.
The gradients are those of M1's adapter: forgetfilter/score/gradients.py says what differs from the paper. Needs a
scoring with score.gradients=true.

Example: cosines 0.1, 0.7 and -0.2 to three safe rows: score 0.3.
"""

import polars as pl

from .base import Signal, Stored, where_tokens

STORED = Stored(
    ("gradient_distance",),
    "score.gradients",
    "gradients, which were not compared: score with score.gradients=true",
    "gradients",
)

SIGNAL = Signal(
    name="gradient_distance",
    needs=("num_tokens", "gradient_distance"),
    expression=where_tokens(pl.col("gradient_distance")),
    unit="1 - cosine",
    doc="rival by influence (LESS): gradient unlike that of every safe row",
    stored=(STORED,),
)
