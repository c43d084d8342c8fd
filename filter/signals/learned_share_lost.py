"""Share of what was learned that was lost: (l2 - l1) / max(l0 - l1, 0.05).

l0 is the mean answer loss under the released model M0. An example of which little was learned has little to lose;
the 0.05 nats keep the ratio bounded for it. Needs a scoring with score.base=true.

Example: 4 label tokens, loss sums 10.0 under M0, 2.0 before and 6.0 after: l0 = 2.5, l1 = 0.5, l2 = 1.5, score 0.5.
"""

from .base import LOSS_COLUMNS, Signal, mean_loss
from .stored import BASE

FLOOR_NATS = 0.05

SIGNAL = Signal(
    name="learned_share_lost",
    needs=(*LOSS_COLUMNS, "base_loss_sum"),
    expression=(mean_loss("after") - mean_loss("before"))
    / (mean_loss("base") - mean_loss("before")).clip(lower_bound=FLOOR_NATS),
    unit="1",
    doc="share of what was learned that was lost: (l2 - l1) / (l0 - l1)",
    stored=(BASE,),
)
