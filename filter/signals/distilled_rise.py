"""Loss rise, with what the texts let one expect of it: for data without probes.

Example: a row whose rise exceeds that of 80% of the rows, and whose text foretells more than 90% of them:
0.25 * 0.8 + 0.9 = 1.1, where the forecasts are worth their full weight.
"""

from .distilled import distilled
from .loss_rise import SIGNAL as RISE

SIGNAL = distilled("distilled_rise", RISE, "loss rise, and what its words let one expect of it")
