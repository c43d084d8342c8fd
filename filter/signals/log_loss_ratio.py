"""Logarithm of the ratio of the mean answer losses: log((l2 + 0.01) / (l1 + 0.01)).

The forgetting of ForgetFilter (Zhao et al., ICML 2024, arXiv 2312.12736) with the loss in the place of ROUGE-1, on
a logarithmic scale: falls and rises by the same factor weigh the same. The 0.01 nats keep it bounded at l1 = 0.

Example: 4 label tokens, loss sums 2.0 before and 6.0 after: l1 = 0.5, l2 = 1.5, score log(1.51 / 0.51) = 1.085.
"""

from .base import LOSS_COLUMNS, Signal, mean_loss

FLOOR_NATS = 0.01

SIGNAL = Signal(
    name="log_loss_ratio",
    needs=LOSS_COLUMNS,
    expression=((mean_loss("after") + FLOOR_NATS) / (mean_loss("before") + FLOOR_NATS)).log(),
    unit="1 (natural logarithm)",
    doc="log ratio of the mean answer losses: log((l2 + 0.01) / (l1 + 0.01))",
    axis="log of the loss after over the loss before",
    of_losses=True,
)
