"""Variability while the noisy data was learned: spread of the answer's probability a token over the epochs.

Dataset cartography (Swayamdipta et al., EMNLP 2020): the standard deviation (of the population) of exp(-mean loss)
over the epochs. From the hook's losses (train.log_losses=true), without any scoring.

Example: probabilities 0.2 and 0.6 over two epochs: score 0.2.
"""

import polars as pl

from .base import Signal, where_tokens
from .stored import epochs

SIGNAL = Signal(
    name="variability",
    needs=("num_tokens", "noisy_variability"),
    expression=where_tokens(pl.col("noisy_variability")),
    unit="probability",
    doc="spread of the answer's probability over the noisy epochs",
    stored=(epochs("noisy_variability"),),
)
