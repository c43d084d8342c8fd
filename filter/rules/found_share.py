"""Drop as few rows as it takes to find a share of the unsafe rows, by estimate (see estimate.py).

Where the estimate cannot tell the number of unsafe rows from none, nothing is dropped.

Example: with an estimate of 300 unsafe rows and min_found = 0.9, the cut is the highest probe above which 270 of them
are expected.
"""

from .base import Rule, Ruling, Scores, percent
from .by_estimate import above, needed


def apply(scores: Scores, signal: str, min_found: float) -> Ruling:
    """`min_found`: the share of the unsafe rows to be found, 0 to 1."""
    known = needed(scores, "found_share")
    enough = (cut for cut, rows in known.cuts() if known.found(cut, rows) >= min_found * known.unsafe[0])
    return above(scores, known, next(enough, None), f"{percent(min_found)} of the unsafe rows to be found")


def sweep(scores: Scores) -> list[float]:
    """Shares in steps of a twentieth."""
    return [twentieths / 20 for twentieths in range(1, 20)]


RULE = Rule(
    name="found_share",
    settings=("min_found",),
    apply=apply,
    doc="until this share of the unsafe rows is found, by estimate",
    sweep=sweep,
    fewest_probes=20,
)
