"""What a rule is: a function from the scores of all examples to a ruling on each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..table.sorting import descending, in_order, repeated, taken
from ..table.threads import by_pieces
from .estimate import Estimate, estimate

# The reasons of an example without a score, which is kept: nothing was learned of it, or the signal has no value
NO_TOKENS, NO_VALUE = "no label tokens", "the signal has no value for it"
PROBE = "a probe: trusted, never dropped"
CONSTANT = "the signal is constant: nothing separates the examples"


@dataclass(frozen=True, eq=False)
class Scores:
    """All that a rule sees of n examples: numbers, never texts or labels."""

    score: NDArray[np.float64]
    """[n] in the signal's unit, higher for what was forgotten more; NaN where an example has none."""
    source: NDArray[np.integer[Any]]
    """[n] positions in `sources`."""
    sources: list[str]
    """Names of the sources."""
    id_order: Callable[[NDArray[np.uint32]], NDArray[np.uint32]]
    """Orders the given rows by their ids, perhaps in place. It is called only for rows that share their score."""
    probe: NDArray[np.bool_] | None = None
    """[n] whether the example is a held-out trusted one that was trained along; None where there are no probes."""

    @cached_property
    def order(self) -> NDArray[np.uint32]:
        """The rows that have a score, the most forgotten first. Equal scores are ordered by id, not by the input's
        order."""
        rows = np.empty(np.count_nonzero(~np.isnan(self.score)), dtype=np.uint32)
        tied, start = np.zeros(len(rows), dtype=np.bool_), 0  # where rows share their score
        for ((part, keys),) in in_order([descending(self.score)]):
            part, keys = part[: len(rows) - start], keys[: len(rows) - start]  # rows without a score come last
            rows[start : start + len(part)] = part
            tied[start : start + len(part)] = repeated(keys)
            start += len(part)
        del part, keys  # these views would keep arrays of all rows in memory
        if tied.any():
            by_id = self.id_order(rows[tied])
            parts = in_order([descending(taken(self.score, by_id))])  # keeps the order of the ids
            rows[tied] = np.concatenate([taken(by_id, part) for ((part, _),) in parts])
        return rows

    @cached_property
    def candidates(self) -> NDArray[np.uint32]:
        """`order` without the probes: the rows that a rule can drop, to which its shares and numbers refer."""
        return self.order if self.probe is None else self.order[~taken(self.probe, self.order)]

    @property
    def count(self) -> int:
        """The number of examples that have a score."""
        return len(self.order)

    def evenly(self, most: int = 1_000_000) -> NDArray[np.float64]:
        """At most so many of the scores, evenly by rank and the highest first; all of them where there are fewer."""
        places = np.linspace(0, self.count - 1, min(most, self.count)).round().astype(np.int64)
        return self.score.take(self.order.take(places))

    @cached_property
    def rank(self) -> NDArray[np.uint32]:
        """[n] place in `order` from 1 on; 0 without a score."""
        place = np.zeros(len(self.score), dtype=np.uint32)
        place[self.order] = np.arange(1, len(self.order) + 1, dtype=np.uint32)
        return place

    @cached_property
    def p_value(self) -> NDArray[np.float64]:
        """[n] `p_values` by the probes; 1 without any."""
        known = np.zeros(len(self.score), dtype=np.bool_) if self.probe is None else self.probe & ~np.isnan(self.score)
        return p_values(self.score, self.score[known])

    @cached_property
    def estimate(self) -> Estimate | None:
        """How many rows are unsafe, by the probes; None where they are too few."""
        return estimate(self.score, self.probe, self.source)


@dataclass(frozen=True, eq=False)
class Ruling:
    """A rule's ruling on n examples. The reasons are put into words in batches, when the decisions are written."""

    drop: NDArray[np.bool_]
    """[n] False for every example without a score."""
    reason: pl.Expr
    """The reason as a function of `drop` and `source`, for scored rows that are no probes. It is one of a few texts, so
    that reasons can be counted and take no room; the numbers of the row have columns of their own."""
    threshold: float | None = None
    """The rule's own cut in the signal's unit; None for the lowest score that it dropped."""
    p_value: NDArray[np.float64] | None = None
    """[n] probability that a good example has so high a score; NaN without a score, None where the rule has none."""
    note: str = ""
    """A line for people on what the rule found, such as that nothing separates the examples."""

    def cut(self, scores: Scores) -> float | None:
        """The rule's own cut, or the lowest score dropped; None without any, or if no single score separates them."""
        if self.threshold is not None or not self.drop.any():
            return self.threshold
        ordered = taken(self.drop, scores.candidates)
        last, kept = len(ordered) - 1 - int(ordered[::-1].argmax()), int(ordered.argmin())
        low, highest = (float(scores.score[scores.candidates[place]]) for place in (last, kept))
        return None if not ordered[kept] and highest > low else low


def p_values(score: NDArray[np.float64], probes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(1 + #{probes >= score}) / (m + 1), [n]; NaN without a score. `probes` [m] holds no NaN."""
    ordered, p_value = np.sort(probes), np.empty(len(score))

    def one(piece: slice) -> None:
        as_high = len(ordered) - np.searchsorted(ordered, score[piece], side="left")
        p_value[piece] = np.where(np.isnan(score[piece]), np.nan, (1 + as_high) / (len(ordered) + 1))

    by_pieces(one, len(score))
    return p_value


@dataclass(frozen=True)
class Known:
    """What is known of the data before anything is scored."""

    rows: int
    """Examples that can be dropped, label tokens or not."""
    probes: int
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """Which of the scored examples are dropped: `apply(scores, signal name, **settings)`."""

    name: str
    """As `filter.rule` calls it."""
    settings: tuple[str, ...]
    """Keys of the config's `filter` section that `apply` takes by the same name."""
    apply: Callable[..., Ruling]
    doc: str
    """One line for docs/signals.md: what it drops."""
    sweep: Callable[[Scores], list[float]] | None = None
    """The values of the first setting that make the curve of --sweep; None where the rule has no number to vary."""
    replaces: Mapping[str, str] = field(default_factory=dict)
    """{setting: another setting whose place it takes where it is not null}."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """{setting that must not be empty: what the user is asked to put into it}."""
    fewest_probes: int = 0
    """The number of probes that it needs to decide; 0 where it needs none."""
    hopeless: Callable[..., str] = lambda known, **settings: ""
    """`hopeless(Known, **settings)`: why nothing will be dropped whatever the scores are; empty where something may."""
    doubtful: Callable[..., str] = lambda known, **settings: ""
    """`doubtful(Known, **settings)`: why nothing will be dropped unless the estimate proves that rows are unsafe."""
    automatic: bool = False
    """Whether it finds the threshold by itself, between two groups of scores."""


def steps(highest: float) -> list[float]:
    """0 and 99 more values up to 99 hundredths of the highest."""
    return [highest * step / 100 for step in range(100)]


def first(scores: Scores, count: int) -> NDArray[np.bool_]:
    """[n] whether an example is ranked up to the `count` most forgotten that are no probes."""
    number = min(count, len(scores.candidates))
    last = scores.rank[scores.candidates[number - 1]] if number else 0
    found: NDArray[np.bool_] = (scores.rank > 0) & (scores.rank <= last)  # 0 has no score
    return found


def whether(dropped: str, kept: str) -> pl.Expr:
    """A reason of two texts."""
    return pl.when("drop").then(pl.lit(dropped)).otherwise(pl.lit(kept))


def among(which: str) -> pl.Expr:
    """The reason of a rule that drops by rank."""
    return whether(f"among the {which}", f"not among the {which}")


def percent(share: float) -> str:
    return f"{100 * share:g}%"


def judge(scores: Scores, signal: str, rule: Rule, settings: dict[str, Any]) -> Ruling:
    """The rule's ruling. Where all scores are equal none is dropped, since only chance could choose among them."""
    if scores.count > 1 and scores.score[scores.order[0]] == scores.score[scores.order[-1]]:
        return Ruling(np.zeros(len(scores.score), dtype=np.bool_), pl.lit(CONSTANT), note=CONSTANT)
    ruling = rule.apply(scores, signal, **settings)
    return ruling if scores.probe is None else replace(ruling, drop=ruling.drop & ~scores.probe)
