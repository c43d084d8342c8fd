"""Loss rise, combined with its forecast from the texts; for data without probes.

Example: the rise of a row exceeds that of 80% of the rows, and its forecast exceeds 90% of theirs. Where the forecasts
have their full weight, the score is 0.25 * 0.8 + 0.9 = 1.1.
"""

from .distilled import distilled
from .loss_rise import SIGNAL as RISE

SIGNAL = distilled("distilled_rise", RISE, "loss rise, and what its words let one expect of it")
