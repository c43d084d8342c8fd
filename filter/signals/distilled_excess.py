"""Excess rise pooled over rows that look alike, with what the texts let one expect of it: for data with probes.

The probes are foretold in the same folds as all rows, so they remain like any good row, and p-values against them hold.

Example: a row whose pooled excess exceeds that of 80% of the rows, and whose text foretells more than 90% of them:
0.25 * 0.8 + 0.9 = 1.1, where the forecasts are worth their full weight.
"""

from .distilled import distilled
from .pooled_excess import SIGNAL as EXCESS

SIGNAL = distilled("distilled_excess", EXCESS, "pooled excess rise, and what its words let one expect of it")
