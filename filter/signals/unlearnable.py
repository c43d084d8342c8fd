"""Low confidence while the noisy data was learned: 1 less the mean probability of the answer's tokens over the epochs.

The other axis of dataset cartography (Swayamdipta et al., EMNLP 2020): the mean of exp(-mean loss) over the epochs,
turned round. From the hook's losses (train.log_losses=true), without any scoring.

Example: probabilities 0.2 and 0.6 over two epochs: score 0.6.
"""

import polars as pl

from .base import Signal, where_tokens
from .stored import epochs

SIGNAL = Signal(
    name="unlearnable",
    needs=("num_tokens", "noisy_confidence"),
    expression=where_tokens(1 - pl.col("noisy_confidence")),
    unit="probability",
    doc="1 less the answer's mean probability over the noisy epochs",
    stored=(epochs("noisy_confidence"),),
)
