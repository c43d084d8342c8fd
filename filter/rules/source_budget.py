"""Drop a share of each named source: the round(share * n) most forgotten of its n scored examples, ties by id.

For a mixture of sources that are trusted differently, and whose losses are not on one scale. Sources that are
not named keep all. `rank` stays the rank among all examples; the reason tells the one inside the source.

Example: {"forum": 0.5} of 4 forum and 6 textbook examples drops the 2 most forgotten forum examples.
"""

import numpy as np
import polars as pl

from forgetfilter.errors import UserError, nearest

from .base import Rule, Scores, Verdict, percent, whether


def apply(scores: Scores, signal: str, source_budget: dict[str, float]) -> Verdict:
    """`source_budget`: source name: share, 0 to 1. UserError for a source that the data does not have."""
    for name in source_budget:
        if name not in scores.sources:
            raise UserError(f"filter.source_budget.{name}: the data has no such source{nearest(name, scores.sources)}")
    drop, place = np.zeros(len(scores.score), dtype=np.bool_), np.zeros(len(scores.score), dtype=np.int64)
    counts: dict[str, int] = {}
    source = scores.source[scores.order]
    for name, share in source_budget.items():
        rows = scores.order[source == scores.sources.index(name)]
        counts[name] = len(rows)
        place[rows] = np.arange(1, len(rows) + 1)
        drop[rows[: round(share * len(rows))]] = True
    shares = {name: percent(share) for name, share in source_budget.items()}
    named = pl.format(
        "rank {} of {} in {}: {} the {} most forgotten of this source",
        "place",
        _of_source(counts, pl.Int64),
        "source",
        whether("among", "not among"),
        _of_source(shares, pl.String),
    )
    reason = pl.when(pl.col("place") > 0).then(named).otherwise(pl.format("source {} has no budget", "source"))
    return Verdict(drop, reason, columns={"place": place})


def _of_source(values: dict[str, int] | dict[str, str], dtype: type[pl.DataType]) -> pl.Expr:
    """The value of each row's source; null for a source that is not named."""
    return pl.col("source").replace_strict(list(values), list(values.values()), default=None, return_dtype=dtype)


RULE = Rule(name="source_budget", settings=("source_budget",), apply=apply)
