"""Rise of the mean answer loss, relative to where it started: (l2 - l1) / (l1 + 0.05).

The forgetting of ForgetFilter (Zhao et al., ICML 2024, arXiv 2312.12736) with the loss in the place of ROUGE-1,
and the scale of each example's own loss taken out. The 0.05 nats keep the ratio bounded for an example that was
learned by heart (l1 near 0).

Example: 4 label tokens, loss sums 2.0 before and 6.0 after: l1 = 0.5, l2 = 1.5, score 1.0 / 0.55 = 1.818.
"""

from .base import LOSS_COLUMNS, Signal, mean_loss

FLOOR_NATS = 0.05

SIGNAL = Signal(
    name="relative_loss_rise",
    needs=LOSS_COLUMNS,
    expression=(mean_loss("after") - mean_loss("before")) / (mean_loss("before") + FLOOR_NATS),
    unit="1",
    doc="relative rise of the mean answer loss: (l2 - l1) / (l1 + 0.05)",
    axis="rise of the loss, relative to the loss before",
    of_losses=True,
)
