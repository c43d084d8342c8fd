"""Estimates how many rows are unsafe, and how many of them a cut finds, from probes and all rows, without labels.

A share 1 - u of the rows is good, and its scores are distributed like those of the probes. If the signal ranks well,
hardly an unsafe row scores below the value under which a share G of the good rows lies. So a share F = (1 - u) G of all
rows lies there, which gives u = 1 - F / G (Storey, A direct approach to false discovery rates, JRSS B 2002, with lambda
= 1 - G). The mean of this over the shares GOOD moves less by chance than one of them. Unsafe rows that do lie there are
not counted, so the estimate is too low where the signal ranks poorly. Its error is that of all the shares, by the delta
method. Above a cut there are as many good rows as the probes let one expect, and the other rows above it are unsafe
ones that it finds.

Probes are often taken evenly from sources of which the data has more and fewer rows. Where their numbers by source are
clearly not those of the good rows, each probe counts as many good rows as its source has for each of its probes; how
many of a source are good is estimated by its own probes.

Example: there are 99 probes and 1,000 rows. 350, 420, 490, 560 and 630 rows lie up to the probes under which 50, 60,
70, 80 and 90% of the good rows lie. By each of them 700 rows are good and 300 unsafe. Above the last lie 370 rows, of
which 70 are expected to be good, so 300 are found and none is left.
"""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetfilter.storage import formats

from ..table.threads import by_pieces

GOOD = np.array([0.5, 0.6, 0.7, 0.8, 0.9])  # shares of the good rows
FEWEST = 20  # the fewest probes by which a share can be estimated
FEWEST_OF_SOURCE = 10  # and those of a source, for its own share
MOST_SOURCES = 50  # sources with a share of their own, those with the most probes
LEAST_GOOD = 0.1  # of a source's rows, whatever its probes say
BY_CHANCE = 0.01  # how seldom probes drawn by chance are held to come from other sources than the good rows
NINETY = 1.645  # standard errors to either side, for an interval of 90%
PROVEN = 2.326  # standard errors above 0, which the estimate exceeds in some 3 of 100 clean data sets

Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True, eq=False)
class Estimate:
    """The estimate for `rows` scored rows that are no probes, by m probes."""

    probes: NDArray[np.float64]
    """[m] ascending."""
    above: NDArray[np.int64]
    """[m] how many rows score above each probe."""
    rows: int
    weight: NDArray[np.float64]
    """[m] the share of the good rows that each probe stands for; their sum is 1."""

    @cached_property
    def size(self) -> float:
        """How many probes of equal weight would say as much."""
        return float(1 / (self.weight**2).sum())

    @cached_property
    def unsafe(self) -> Interval:
        """The estimated number of unsafe rows, and the ends of a 90% interval."""
        share, error = self._share
        return _within(share * self.rows, NINETY * error * self.rows, self.rows)

    @property
    def proven(self) -> bool:
        """Whether some rows are unsafe, which is said of some 3 of 100 clean data sets. What is dropped or risked
        because rows are unsafe rests on this; the interval of `unsafe` is for people, and for `may_be_none`."""
        share, error = self._share
        return share > PROVEN * error

    @property
    def may_be_none(self) -> bool:
        """Whether the interval leaves it open that no row is unsafe. It asks for less than `proven`, and only decides
        on what ranks the rows."""
        return self.unsafe[1] <= 0

    @property
    def tells(self) -> bool:
        """Whether the interval holds any number of rows. It does not where the probes score clearly higher than the
        rows do: then they are not like the good ones among them, and an interval of 0 to 0 would be no knowledge."""
        return self.unsafe[2] > 0

    @cached_property
    def _share(self) -> tuple[float, float]:
        """The estimated share of unsafe rows, which may be below 0, and its standard error."""
        up_to = self.weight.cumsum() * self.size / (self.size + 1)
        place = np.minimum(np.searchsorted(up_to, GOOD - 1e-9), len(up_to) - 1)
        good, below = up_to[place], 1 - self.above[place] / max(1, self.rows)
        some = np.maximum(below, 1 / max(1, self.rows))
        of_rows = _covariance(some) / max(1, self.rows) / np.outer(good, good)
        of_probes = _covariance(good) / (self.size + 2) * np.outer(some / good**2, some / good**2)
        return float((1 - below / good).mean()), sqrt((of_rows + of_probes).mean())

    def good_dropped(self, cut: float) -> float:
        """The share of the good rows above a cut, 0 to 1, as the probes let one expect."""
        higher = float(self.weight[np.searchsorted(self.probes, cut, side="right") :].sum())
        return min(1.0, (higher * self.size + 1) / (self.size + 1))

    def found(self, cut: float, dropped: int) -> float:
        """The estimated number of unsafe rows among the dropped ones, which lie above the cut."""
        unsafe = self.unsafe[0]
        return min(max(0.0, dropped - self.good_dropped(cut) * (self.rows - unsafe)), unsafe)

    def left(self, cut: float, dropped: int) -> Interval:
        """The estimated number of unsafe rows that are not dropped."""
        unsafe, low, high = self.unsafe
        lost = self.good_dropped(cut)
        of_unsafe = (1 - lost) * (high - low) / 2
        of_lost = NINETY * sqrt(lost * (1 - lost) / (self.size + 2)) * (self.rows - unsafe)
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


def estimate(
    score: NDArray[np.float64], probe: NDArray[np.bool_] | None, source: NDArray[np.integer[Any]]
) -> Estimate | None:
    """The estimate for [n] scores, NaN where there is none, of rows of sources; None where there are too few probes."""
    if probe is None:
        return None
    known = ~np.isnan(score)
    rows = np.flatnonzero(probe & known)
    rows = rows[score[rows].argsort(kind="stable")]
    if len(rows) < FEWEST:
        return None
    probes, group = score[rows], _groups(source, source[rows])
    own, width = group[source[rows]], len(rows) + 1
    pieces: list[NDArray[np.int64]] = []

    def one(piece: slice) -> None:  # of each group how many rows exceed so many probes
        some = known[piece] & ~probe[piece]
        place = np.searchsorted(probes, score[piece][some], side="left")
        pieces.append(np.bincount(group[source[piece][some]] * width + place, minlength=(group.max() + 1) * width))

    by_pieces(one, len(score))
    exceeded = np.sum(pieces, axis=0).reshape(-1, width)
    above = exceeded[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    return Estimate(probes, above.sum(axis=0), int(exceeded.sum()), _weights(probes, own, above, exceeded.sum(axis=1)))


def _groups(source: NDArray[np.integer[Any]], of_probes: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """[sources] a number for each source with enough probes, and one for all others; one for all where others lack."""
    size = int(source.max()) + 1
    probes = np.bincount(of_probes, minlength=size)
    own = probes >= max(FEWEST_OF_SOURCE, np.sort(probes)[-MOST_SOURCES:][0])
    there = np.bincount(source, minlength=size) > 0
    if (there & ~own).any() and probes[~own].sum() < FEWEST_OF_SOURCE:
        return np.zeros(size, dtype=np.int64)
    group: NDArray[np.int64] = np.where(own, own.cumsum() - 1, own.sum())
    return group


def _weights(
    probes: NDArray[np.float64], own: NDArray[np.int64], above: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[m] of probes of groups `own`, by [groups, m] rows above each probe and [groups] rows."""
    from scipy.special import chdtrc

    alike, count = np.full(len(probes), 1 / len(probes)), np.bincount(own, minlength=len(rows))
    good = LEAST_GOOD * rows
    for number in np.flatnonzero(count):
        mine, weight = own == number, np.full(count[number], 1 / count[number])
        by_itself = Estimate(probes[mine], above[number][mine], int(rows[number]), weight)
        good[number] = max(good[number], by_itself.rows - by_itself.unsafe[0])
    expected = good / max(1.0, good.sum()) * len(probes)
    apart = float(((count - expected) ** 2 / np.maximum(expected, 1e-9)).sum())
    if len(rows) == 1 or chdtrc(len(rows) - 1, apart) >= BY_CHANCE:
        return alike
    each = (good / np.maximum(count, 1))[own]
    found: NDArray[np.float64] = each / each.sum()
    return found


def _covariance(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """[k, k] of the shares of one drawn row that lie below k values of a distribution."""
    found: NDArray[np.float64] = np.minimum.outer(share, share) * (1 - np.maximum.outer(share, share))
    return found


def _within(value: float, width: float, most: float) -> Interval:
    value, low, high = (min(max(0.0, number), most) for number in (value, value - width, value + width))
    return value, low, high
