"""Contrastive forgetting relative to where it started: (l2 - lc) / (l1 + 0.05).

relative_loss_rise less the same under the control finetuning of contrastive_rise: the scale of each example's own loss
is taken out of both rises alike.

Example: 4 label tokens, loss sums 2.0 before, 6.0 after and 3.0 under Mc: (1.5 - 0.75) / (0.5 + 0.05) = 1.364.
"""

from .base import LOSS_COLUMNS, Signal, mean_loss
from .relative_loss_rise import FLOOR_NATS
from .stored import CONTROL

SIGNAL = Signal(
    name="relative_contrastive_rise",
    needs=(*LOSS_COLUMNS, "control_loss_sum"),
    expression=(mean_loss("after") - mean_loss("control")) / (mean_loss("before") + FLOOR_NATS),
    unit="1",
    doc="contrastive rise relative to the loss before: (l2 - lc) / (l1 + 0.05)",
    stored=(CONTROL,),
)
