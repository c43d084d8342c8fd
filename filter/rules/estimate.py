"""Estimates how many rows are unsafe, and how many of them a cut finds, from probes and all rows, without labels.

A share 1 - u of the rows is good, and its scores are distributed like those of the probes. If the signal ranks well,
hardly an unsafe row scores below the value under which a share SCORED of the good rows lies. So a share (1 - u) *
SCORED of all rows lies there, which gives u (Storey, A direct approach to false discovery rates, JRSS B 2002, with
lambda = 1 - SCORED). Unsafe rows that do lie there are not counted, so the estimate is rather too low where the signal
ranks poorly. Its error is that of both shares, by the delta method. Above a cut there are as many good rows as the
probes let one expect, and the other rows above it are unsafe ones that it finds.

Example: there are 99 probes and 1,000 rows, and 490 rows lie up to the 70th lowest probe. Then 490 / 0.7 = 700 rows are
good and 300 unsafe. Above the 10th highest probe lie 340 rows, of which 70 are expected to be good, so 270 are found
and 30 are left.
"""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from forgetfilter.storage import formats

from ..table.threads import by_pieces

SCORED = 0.7  # share of the good rows; bench/cuts.py tells what other values give
FEWEST = 20  # the fewest probes by which a share can be estimated
NINETY = 1.645  # standard errors to either side, for an interval of 90%

Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True, eq=False)
class Estimate:
    """The estimate for `rows` scored rows that are no probes, by m probes."""

    probes: NDArray[np.float64]
    """[m] ascending."""
    above: NDArray[np.int64]
    """[m] how many rows score above each probe."""
    rows: int

    @cached_property
    def unsafe(self) -> Interval:
        """The estimated number of unsafe rows, and the ends of a 90% interval."""
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
        """The estimated number of unsafe rows among the dropped ones, which lie above the cut."""
        unsafe = self.unsafe[0]
        return min(max(0.0, dropped - self.good_dropped(cut) * (self.rows - unsafe)), unsafe)

    def left(self, cut: float, dropped: int) -> Interval:
        """The estimated number of unsafe rows that are not dropped."""
        unsafe, low, high = self.unsafe
        lost = self.good_dropped(cut)
        of_unsafe = (1 - lost) * (high - low) / 2
        of_lost = NINETY * sqrt(lost * (1 - lost) / (len(self.probes) + 2)) * (self.rows - unsafe)
        return _within(unsafe - self.found(cut, dropped), sqrt(of_unsafe**2 + of_lost**2), high)

    def told(self, cut: float | None, dropped: int) -> formats.Estimate:
        """For summary.json: [value, low, high] of the unsafe rows, and, where one cut parts the rows, of those left."""
        unsafe = [*self.unsafe]
        if not dropped:
            return {"unsafe": unsafe, "left": unsafe, "good_dropped": 0.0}
        if cut is None:
            return {"unsafe": unsafe}
        return {"unsafe": unsafe, "left": [*self.left(cut, dropped)], "good_dropped": self.good_dropped(cut)}

    def cuts(self) -> list[tuple[float, int]]:
        """(cut, rows above it) at each probe, the highest first."""
        return [(float(self.probes[place]), int(self.above[place])) for place in range(len(self.probes))[::-1]]


def estimate(score: NDArray[np.float64], probe: NDArray[np.bool_] | None) -> Estimate | None:
    """The estimate for [n] scores, NaN where there is none; None where there are too few probes."""
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
