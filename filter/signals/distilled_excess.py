"""Excess rise pooled over rows that look alike, combined with its forecast from the texts; for data with probes.

The probes are foretold in the same folds as all rows, so they remain like any good row, and p-values against them hold.

Example: the pooled excess of a row exceeds that of 80% of the rows, and its forecast exceeds 90% of theirs. Where the
forecasts have their full weight, the score is 0.25 * 0.8 + 0.9 = 1.1.
"""

from .distilled import distilled
from .pooled_excess import SIGNAL as EXCESS

SIGNAL = distilled("distilled_excess", EXCESS, "pooled excess rise, and what its words let one expect of it")
