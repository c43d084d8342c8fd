"""Drop what belongs more likely to the upper one of two normal distributions that the scores are a mixture of.

The threshold is where the two weighted densities cross, on the scale of separation.py, whose test must find two groups
first; where it finds none, nothing is dropped.

Example: scores around 0 (700) and around 5 (300), each with spread 1: a threshold near 3.3. On their own scale the
densities cross at 2.5 + ln(7/3) / 5 = 2.67; the scale that makes a skewed group normal bends two groups a little.
"""

import numpy as np
from numpy.typing import NDArray

from .base import Rule, Ruling, Scores
from .otsu import above
from .separation import crossing, find_groups


def cut(score: NDArray[np.float64]) -> tuple[float | None, str]:
    """(threshold, what was found) of scores [n], NaN for none; None where nothing separates them."""
    groups, found = find_groups(score)
    return (None if groups is None else crossing(groups)), found


def apply(scores: Scores, signal: str) -> Ruling:
    """Drops scores above the threshold."""
    return above(scores, *cut(scores.evenly()))


RULE = Rule(
    name="mixture",
    settings=(),
    apply=apply,
    automatic=True,
    doc="above the crossing of two groups of scores, where there are two; otherwise nothing",
)
