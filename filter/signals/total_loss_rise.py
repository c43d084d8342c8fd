"""Rise of the answer's whole loss: s2 - s1, in nats, summed over the answer's tokens.

How much less likely the whole answer has become, as a log ratio of its probabilities under M1 and M2. It weighs
long answers more than the mean does: strong where unsafe answers are sentences, weak where they are a few words
beside long task answers.

Example: 4 label tokens, loss sums 2.0 before and 6.0 after: score 4.0.
"""

import polars as pl

from .base import LOSS_COLUMNS, Signal, mean_loss

SIGNAL = Signal(
    name="total_loss_rise",
    needs=LOSS_COLUMNS,
    expression=(mean_loss("after") - mean_loss("before")) * pl.col("num_tokens"),
    unit="nats",
    doc="rise of the whole answer's loss: s2 - s1",
    axis="rise of the loss of the whole answer (nats)",
)
