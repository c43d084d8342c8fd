"""Forgetting events while the noisy data was learned: epochs in which the example's loss was above the epoch before.

After Toneva et al., An Empirical Study of Example Forgetting (ICLR 2019), with the loss of the training pass itself
in the place of a right answer turning wrong. From the hook's losses (train.log_losses=true), without any scoring.

Example: mean losses 1.0, 0.4, 0.6, 0.3 over four epochs: score 1.
"""

import polars as pl

from .base import Signal, where_tokens
from .stored import epochs

SIGNAL = Signal(
    name="forgetting_events",
    needs=("num_tokens", "noisy_loss_rises"),
    expression=where_tokens(pl.col("noisy_loss_rises").cast(pl.Float64)),
    unit="events",
    doc="epochs of the noisy training in which the loss rose",
    stored=(epochs("noisy_loss_rises"),),
)
