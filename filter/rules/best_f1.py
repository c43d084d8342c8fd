"""Drop what lies above the cut with the largest estimated F1, 2 found / (dropped + unsafe) (see estimate.py).

Where the estimate cannot tell the number of unsafe rows from none, nothing is dropped.

Example: with an estimate of 300 unsafe rows, a cut that drops 340 and finds 270 has 540 / 640 = 0.84, and one that
drops 280 and finds 255 has 510 / 580 = 0.88. The second is taken.
"""

from .base import Rule, Ruling, Scores
from .by_estimate import above, needed


def apply(scores: Scores, signal: str) -> Ruling:
    """The first of equally good cuts is the highest."""
    known = needed(scores, "best_f1")
    unsafe = known.unsafe[0]
    f1 = {cut: 2 * known.found(cut, rows) / max(1.0, rows + unsafe) for cut, rows in known.cuts()}
    best = max(f1, key=lambda cut: f1[cut])
    return above(scores, known, best, f"the largest F1, {f1[best]:.2f} by estimate")


RULE = Rule(
    name="best_f1",
    settings=(),
    apply=apply,
    doc="above the cut of the largest estimated F1",
    fewest_probes=20,
)
