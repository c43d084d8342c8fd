"""Rise of the mean answer loss: l2 - l1, in nats a token.

The plainest form of the forgetting that ForgetFilter measures (Zhao et al., ICML 2024, arXiv 2312.12736), with
the loss in the place of ROUGE-1: one forward pass instead of a generation. Poor where the mixture holds long
answers that were never memorised: their losses move by more than those of short ones.

Example: 4 label tokens, loss sums 2.0 before and 6.0 after: l1 = 0.5, l2 = 1.5, score 1.0.
"""

from .base import LOSS_COLUMNS, Signal, mean_loss

SIGNAL = Signal(
    name="loss_rise",
    needs=LOSS_COLUMNS,
    expression=mean_loss("after") - mean_loss("before"),
    unit="nats a token",
    doc="rise of the mean answer loss: l2 - l1",
    axis="rise of the loss (nats a token)",
    of_losses=True,
)
