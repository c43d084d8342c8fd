"""What each of many values of a rule's setting would drop, before any review."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forgetfilter.config.schema import FilterConfig
from forgetfilter.storage.formats import ByLabel, ByProbes, SweepTable

from . import quality, rules
from .decisions import Decisions
from .table.joined_table import Table

ESTIMATED = ("unsafe_left", "unsafe_left_low", "unsafe_left_high", "good_lost")
MEASURES: tuple[Literal["precision", "recall", "f1"], ...] = ("precision", "recall", "f1")
MOST_ROWS = 2_000_000  # beyond them a hundred decisions more would take longer than the decision
SOURCES = 20  # the most that the page tells apart


@dataclass(frozen=True, eq=False)
class Tried:
    """One value, and what it would drop. Counts of rows are those without the probes."""

    setting: float
    threshold: float | None
    """See Ruling.cut."""
    kept: int
    dropped: int
    by_source: NDArray[np.int64]
    """[sources] rows dropped."""
    unsafe_dropped: int
    """Rows labelled unsafe."""
    good_dropped: int
    """Rows with another label."""
    estimate: dict[str, float]
    """By the probes: ESTIMATED, in rows; empty where they do not tell."""
    measured: dict[str, float | None]
    """By the labels: MEASURES; empty without labels."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """A rule whose first setting varies over the scores of a run, with its other settings as they are."""

    table: Table
    scores: rules.Scores
    signal: str
    rule: rules.Rule
    settings: dict[str, Any]

    def values(self) -> list[float]:
        assert self.rule.sweep is not None
        return self.rule.sweep(self.scores)

    def tried(self, values: list[float]) -> Iterator[Tried]:
        """Each value in its turn."""
        table, scores, label = self.table, self.scores, self.table.columns.read("label")
        labelled, positive = label >= 0, quality.unsafe(table.labels, label)
        count = table.count - (0 if scores.probe is None else int(scores.probe.sum()))
        known = scores.estimate
        for value in values:
            ruling = rules.judge(scores, self.signal, self.rule, self.settings | {self.rule.settings[0]: value})
            drop, cut = ruling.drop, ruling.cut(scores)
            dropped, unsafe = int(drop.sum()), int((drop & positive).sum())
            found = quality.classification(drop[labelled], positive[labelled])
            yield Tried(
                setting=float(value),
                threshold=cut,
                kept=count - dropped,
                dropped=dropped,
                by_source=np.bincount(scores.source[drop], minlength=len(table.sources)),
                unsafe_dropped=unsafe,
                good_dropped=int((drop & labelled).sum()) - unsafe,
                estimate=_estimate(known, cut, dropped),
                measured={name: found[name] for name in MEASURES} if table.labels else {},
            )


def _estimate(known: rules.Estimate | None, cut: float | None, dropped: int) -> dict[str, float]:
    told = known.told(cut, dropped) if known and known.tells else None
    if not known or not told or "left" not in told:
        return {}
    lost = told["good_dropped"] * (known.rows - told["unsafe"][0])
    return dict(zip(ESTIMATED, (*told["left"], lost)))


def replaced(rule: rules.Rule, options: FilterConfig) -> str | None:
    """The setting that takes the place of the rule's first one; None where that one counts."""
    taken = (key for key, old in rule.replaces.items() if old == rule.settings[0] and getattr(options, key) is not None)
    return next(taken, None)


def for_the_page(decisions: Decisions, signal: str, options: FilterConfig) -> SweepTable | None:
    """What filter/sweep.json tells; None where there is nothing to choose, or where there are more than MOST_ROWS rows.

    A rule without a number to vary, such as conformal by filter.fdr, gives its place to quantile. A value that would
    drop every row is left out, since it is refused.
    """
    table, scores = decisions.table, decisions.scores
    own = rules.get(options.rule)
    rule = own if own.sweep and not replaced(own, options) else rules.get("quantile")
    settings = {key: getattr(options, key) for key in rule.settings}
    if table.count > MOST_ROWS:
        return None
    swept, used = Sweep(table, scores, signal, rule, settings), settings[rule.settings[0]]
    values = sorted({*swept.values()} | ({used} if rule is own else set()))
    tried = [one for one in swept.tried(values) if one.dropped < len(scores.candidates)]
    tried.sort(key=lambda one: one.dropped)
    if len({one.dropped for one in tried}) < 2:
        return None
    each = np.stack([one.by_source for one in tried])
    told = np.argsort(-np.bincount(scores.source, minlength=len(table.sources)), kind="stable")[:SOURCES]
    return {
        "rule": rule.name,
        "varies": rule.settings[0],
        "now": next((place for place, one in enumerate(tried) if rule is own and one.setting == used), None),
        "values": [one.setting for one in tried],
        "kept": [one.kept for one in tried],
        "dropped": [one.dropped for one in tried],
        "by_source": {table.sources[number]: each[:, number].tolist() for number in told},
        "other_sources": (each.sum(axis=1) - each[:, told].sum(axis=1)).tolist(),
        "by_probes": _by_probes(tried),
        "by_label": _by_label(decisions, tried),
    }


def _by_probes(tried: list[Tried]) -> ByProbes | None:
    if not any(one.estimate for one in tried):
        return None
    left, low, high, lost = ([one.estimate.get(name) for one in tried] for name in ESTIMATED)
    return {"unsafe_left": left, "unsafe_left_low": low, "unsafe_left_high": high, "good_lost": lost}


def _by_label(decisions: Decisions, tried: list[Tried]) -> ByLabel | None:
    table, probe = decisions.table, decisions.scores.probe
    if not table.labels:
        return None
    label = table.columns.read("label")
    labelled = label >= 0 if probe is None else (label >= 0) & ~probe
    bad = int((quality.unsafe(table.labels, label) & labelled).sum())
    return {
        "unsafe": bad,
        "good": int(labelled.sum()) - bad,
        "unsafe_left": [bad - one.unsafe_dropped for one in tried],
        "good_lost": [one.good_dropped for one in tried],
    }
