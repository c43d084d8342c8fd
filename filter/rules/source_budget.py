"""Drop a share of each named source: the round(share * n) most forgotten of its n scored examples, ties by id.

For a mixture of sources that are trusted differently, and whose losses are not on one scale. Sources that are
not named keep all. `rank` stays the rank among all examples; the reason tells the one inside the source.

Example: {"forum": 0.5} of 4 forum and 6 textbook examples drops the 2 most forgotten forum examples.
"""

import polars as pl

from forgetfilter.errors import UserError, nearest

from .base import Rule, decided, percent, ranked, whether


def apply(frame: pl.DataFrame, signal: str, source_budget: dict[str, float]) -> pl.DataFrame:
    """`source_budget`: source name: share, 0 to 1. UserError for a source that the data does not have."""
    sources = frame["source"].unique().to_list()
    for name in source_budget:
        if name not in sources:
            raise UserError(f"filter.source_budget.{name}: the data has no such source{nearest(name, sources)}")
    with_budget = ranked(frame).with_columns(
        share=_by_source(source_budget, pl.Float64),
        percent=_by_source({name: percent(share) for name, share in source_budget.items()}, pl.String),
        place=pl.col("rank").rank("ordinal").over("source"),
        count=pl.col("score").count().over("source"),
    )
    drop = (pl.col("place") <= (pl.col("share") * pl.col("count")).round(mode="half_to_even")).fill_null(False)
    reason = (
        pl.when(pl.col("share").is_null())
        .then(pl.format("source {} has no budget", "source"))
        .otherwise(
            pl.format(
                "rank {} of {} in {}: {} the {} most forgotten of this source",
                "place",
                "count",
                "source",
                whether(drop, "among", "not among"),
                "percent",
            )
        )
    )
    return decided(with_budget, drop, reason)


def _by_source(values: dict[str, float] | dict[str, str], dtype: type[pl.DataType]) -> pl.Expr:
    """The value of each row's source; null for a source that is not named."""
    return pl.col("source").replace_strict(list(values), list(values.values()), default=None, return_dtype=dtype)


RULE = Rule(name="source_budget", settings=("source_budget",), apply=apply)
