"""Drop what exceeds a fixed threshold: score > phi. The paper's rule (Zhao et al., ICML 2024, arXiv 2312.12736).

Example: phi 0.5 drops a score of 0.51 and keeps one of 0.5.
"""

import numpy as np

from .base import Rule, Ruling, Scores, steps, whether


def apply(scores: Scores, signal: str, phi: float) -> Ruling:
    """`phi` is in the signal's unit."""
    reason = whether(f"{signal} > phi {phi:g}", f"{signal} <= phi {phi:g}")
    return Ruling(scores.score > phi, reason)  # NaN exceeds nothing


def sweep(scores: Scores) -> list[float]:
    """Scores of the examples themselves, from the highest down."""
    places = [int(value) for value in steps(len(scores.candidates))]
    return [float(value) for value in np.unique(scores.score[scores.candidates[places]])[::-1]]


RULE = Rule(name="phi", settings=("phi",), apply=apply, sweep=sweep, doc="what exceeds a fixed score")
