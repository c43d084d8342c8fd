"""How many unsafe rows there are, and how many a cut finds, by estimate: probes against all rows, without labels.

A share 1 - u of the rows is good, and scores as the probes do. Below a score under which SCORED of the good rows lie
there is hardly an unsafe one, if the signal ranks well: so of the rows a share (1 - u) * SCORED lies there, which gives
u (Storey, A direct approach to false discovery rates, JRSS B 2002, with lambda = 1 - SCORED). Unsafe rows that do lie
there are not counted: the estimate is rather too low where the signal ranks poorly. Its error is that of both shares,
by the delta method. Of the rows above a cut the good ones are as many as the probes let one expect; the others are
found.

Example: 99 probes and 1,000 rows; the 70th lowest probe has 490 rows up to it: good rows are 490 / 0.7 = 700, unsafe
300. Above the 10th highest probe lie 340 rows: 70 good ones are expected there, so 270 are found and 30 left.
"""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ..table.ahead import by_pieces

SCORED = 0.7  # of the good rows; bench/cuts.py tells what others give
FEWEST = 20  # probes of which a share can be told
NINETY = 1.645  # standard errors to either side, for an interval of 90%

Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True, eq=False)
class Estimate:
    """Of `rows` scored rows that are no probes, and m probes."""

    probes: NDArray[np.float64]
    """[m] ascending."""
    above: NDArray[np.int64]
    """[m] how many rows score above each probe."""
    rows: int

    @cached_property
    def unsafe(self) -> Interval:
        """Number of unsafe rows, and the ends of a 90% interval."""
        m = len(self.probes)
        place = min(max(1, round(SCORED * (m + 1))), m)
        good, below = place / (m + 1), 1 - self.above[place - 1] / max(1, self.rows)
        error = sqrt((1 - good) / (good * (m + 2)) + (1 - below) / max(1.0, below * self.rows))
        value, width = 1 - below / good, NINETY * error * below / good
        return _within(value * self.rows, width * self.rows, self.rows)

    def good_dropped(self, cut: float) -> float:
        """The share of the good rows above a cut, 0 to 1, as the probes let one expect."""
        higher = len(self.probes) - int(np.searchsorted(self.probes, cut, side="right"))
        return min(1.0, (higher + 1) / (len(self.probes) + 1))

    def found(self, cut: float, dropped: int) -> float:
        """Unsafe rows among so many dropped ones, which are those above the cut."""
        unsafe = self.unsafe[0]
        return min(max(0.0, dropped - self.good_dropped(cut) * (self.rows - unsafe)), unsafe)

    def left(self, cut: float, dropped: int) -> Interval:
        """Unsafe rows that are not dropped."""
        unsafe, low, high = self.unsafe
        lost = self.good_dropped(cut)
        of_unsafe = (1 - lost) * (high - low) / 2
        of_lost = NINETY * sqrt(lost * (1 - lost) / (len(self.probes) + 2)) * (self.rows - unsafe)
        return _within(unsafe - self.found(cut, dropped), sqrt(of_unsafe**2 + of_lost**2), high)

    def told(self, cut: float | None, dropped: int) -> dict[str, float | list[float]]:
        """For summary.json: [value, low, high] of the unsafe rows, and, where one cut parts the rows, of those left."""
        told: dict[str, float | list[float]] = {"unsafe": [*self.unsafe]}
        if not dropped:
            return told | {"left": [*self.unsafe], "good_dropped": 0.0}
        return (
            told if cut is None else told | {"left": [*self.left(cut, dropped)], "good_dropped": self.good_dropped(cut)}
        )

    def cuts(self) -> list[tuple[float, int]]:
        """(cut, rows above it) at each probe, the highest first."""
        return [(float(self.probes[place]), int(self.above[place])) for place in range(len(self.probes))[::-1]]


def estimate(score: NDArray[np.float64], probe: NDArray[np.bool_] | None) -> Estimate | None:
    """Of [n] scores, NaN for none; None where there are too few probes."""
    if probe is None:
        return None
    known = ~np.isnan(score)
    probes = np.sort(score[probe & known])
    if len(probes) < FEWEST:
        return None
    pieces: list[NDArray[np.int64]] = []

    def one(piece: slice) -> None:  # how many rows exceed so many probes
        rows = score[piece][known[piece] & ~probe[piece]]
        pieces.append(np.bincount(np.searchsorted(probes, rows, side="left"), minlength=len(probes) + 1))

    by_pieces(one, len(score))
    exceeded = np.sum(pieces, axis=0)
    return Estimate(probes, exceeded[::-1].cumsum()[::-1][1:], int(exceeded.sum()))


def _within(value: float, width: float, most: float) -> Interval:
    value, low, high = (min(max(0.0, number), most) for number in (value, value - width, value + width))
    return value, low, high
