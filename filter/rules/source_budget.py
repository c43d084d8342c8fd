"""Drop a share of each named source: the round(share * n) most forgotten of its n scored examples, ties by id.

n leaves probes out. For a mixture of sources that are trusted differently, and whose losses are not on one scale.
Sources that are not named keep all. `rank` stays the rank among all examples.

Example: {"forum": 0.5} of 4 forum and 6 textbook examples drops the 2 most forgotten forum examples.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from forgetfilter.errors import UserError, nearest

from .base import Known, Rule, Ruling, Scores, percent, whether


def apply(scores: Scores, signal: str, source_budget: dict[str, float]) -> Ruling:
    """`source_budget`: source name: share, 0 to 1. UserError for a source that the data does not have."""
    _check(source_budget, scores.sources)
    drop, source = np.zeros(len(scores.score), dtype=np.bool_), scores.source[scores.candidates]
    for name, share in source_budget.items():
        rows = scores.candidates[source == scores.sources.index(name)]
        drop[rows[: round(share * len(rows))]] = True
    most = [f"{percent(share)} most forgotten of {name}" for name, share in source_budget.items()]
    most_of = pl.col("source").replace_strict(list(source_budget), most, default=None, return_dtype=pl.String)
    reason = pl.concat_str(whether("among the ", "not among the "), most_of).fill_null("its source has no budget")
    return Ruling(drop, reason)


def _check(source_budget: dict[str, float], sources: Sequence[str]) -> None:
    for name in source_budget:
        if name not in sources:
            raise UserError(f"filter.source_budget.{name}: the data has no such source{nearest(name, [*sources])}")


def hopeless(known: Known, source_budget: dict[str, float]) -> str:
    """UserError for a source that the data does not have."""
    _check(source_budget, known.sources)
    return "" if any(source_budget.values()) else "every share of filter.source_budget is 0"


RULE = Rule(
    name="source_budget",
    settings=("source_budget",),
    apply=apply,
    doc="a share of each named source",
    needs={"source_budget": "name at least one source and its share to drop"},
    hopeless=hopeless,
)
