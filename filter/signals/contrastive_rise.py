"""Contrastive forgetting: the rise of the mean answer loss under the safe finetuning less its rise under a control one.

(l2 - l1) - (lc - l1) = l2 - lc, in nats a token. The control finetuning goes on from M1 too, on trusted rows of another
kind (data.control, mixture.control), and gives Mc and lc: what any further training makes the model forget is taken
out, and what only safe rows make it forget stays. The idea is ours, not the paper's. A control refreshes what looks
like its own rows, so its kind matters: compare several.

Example: 4 label tokens, loss sums 2.0 before, 6.0 after and 3.0 under Mc: rises 1.0 and 0.25, score 0.75.
"""

from .base import Signal, mean_loss
from .stored import CONTROL

SIGNAL = Signal(
    name="contrastive_rise",
    needs=("num_tokens", "after_loss_sum", "control_loss_sum"),
    expression=mean_loss("after") - mean_loss("control"),
    unit="nats a token",
    doc="loss rise under the safe finetuning less that under a control finetuning: l2 - lc",
    stored=(CONTROL,),
)
