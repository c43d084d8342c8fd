"""Drop what lies above the cut that separates the scores best: Otsu's method (IEEE Trans. SMC 9, 1979).

The cut has the largest variance between the two sides, w1 w2 (m1 - m2)^2, on the scale of separation.py, whose test
must find two groups first. Where it finds none, every cut would be arbitrary, and nothing is dropped.

Example: scores around 0 (700) and around 5 (300), each with spread 1: a cut near 2.5.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .base import Rule, Ruling, Scores, whether
from .separation import find_groups


def cut(score: NDArray[np.float64]) -> tuple[float | None, str]:
    """(threshold, what was found) of scores [n], NaN for none; None where nothing separates them."""
    groups, found = find_groups(score)
    if groups is None:
        return None, found
    x = groups.points
    count = np.arange(1, len(x))
    total = np.cumsum(x)
    low, high = total[:-1] / count, (total[-1] - total[:-1]) / (len(x) - count)
    best = int(np.argmax(count * (len(x) - count) * (low - high) ** 2))
    return groups.score_at(float((x[best] + x[best + 1]) / 2)), found


def apply(scores: Scores, signal: str) -> Ruling:
    """Drops scores above the cut."""
    return above(scores, *cut(scores.evenly()))


def above(scores: Scores, threshold: float | None, found: str) -> Ruling:
    """The ruling of an automatic threshold, or that there is none."""
    if threshold is None:
        return Ruling(np.zeros(len(scores.score), dtype=np.bool_), pl.lit(found), note=found)
    automatic = f"the automatic threshold {threshold:.6g}"
    reason = whether(f"above {automatic}", f"up to {automatic}")
    return Ruling(scores.score > threshold, reason, threshold, note=found)  # NaN exceeds nothing


RULE = Rule(
    name="otsu",
    settings=(),
    apply=apply,
    automatic=True,
    doc="above the best cut between two groups of scores, where there are two; otherwise nothing",
)
