"""Drop of the answer's probability a token (geometric mean): exp(-l1) - exp(-l2), from -1 to 1.

The forgetting of ForgetFilter (Zhao et al., ICML 2024, arXiv 2312.12736) with the probability of the reference in
the place of ROUGE-1: bounded like it, and like it flat for answers that were never learned.

Example: 4 label tokens, loss sums 2.0 before and 6.0 after: l1 = 0.5, l2 = 1.5, score 0.607 - 0.223 = 0.383.
"""

from .base import LOSS_COLUMNS, Signal, mean_loss

SIGNAL = Signal(
    name="probability_drop",
    needs=LOSS_COLUMNS,
    expression=(-mean_loss("before")).exp() - (-mean_loss("after")).exp(),
    unit="probability",
    doc="drop of the answer's probability a token: exp(-l1) - exp(-l2)",
    axis="drop of the probability of a token",
    of_losses=True,
)
