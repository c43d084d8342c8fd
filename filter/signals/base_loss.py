"""A rival that needs no training: the mean answer loss l0 under the released model M0 (log of its perplexity).

What surprises an aligned model may be unsafe, or may just be unknown to it. Perplexity filtering is an old way of
cleaning data (CCNet: Wenzek et al., LREC 2020). It needs a scoring with score.base=true.

Example: 4 label tokens and a loss sum of 10.0 under M0: score 2.5.
"""

from .base import Signal, mean_loss
from .stored import BASE

SIGNAL = Signal(
    name="base_loss",
    needs=("num_tokens", "base_loss_sum"),
    expression=mean_loss("base"),
    unit="nats a token",
    doc="rival without training: mean answer loss l0 of the released model",
    stored=(BASE,),
)
