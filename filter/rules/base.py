"""What a rule is: a function from scores to decisions, each with its rank and its reason."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

NO_TOKENS = "no label tokens"  # the reason of an example that has no score: nothing was learned of it


@dataclass(frozen=True)
class Rule:
    """Which of the scored examples are dropped.

    `apply(frame, signal, **settings)` takes `id, source, score` (a row an example, score null where there is
    none) and gives them back, most forgotten first, with `rank` (1 = most forgotten; null without a score),
    `drop` and `reason`. It never sees a label.
    """

    name: str
    """As `filter.rule` calls it."""
    settings: tuple[str, ...]
    """Keys of the config's `filter` section that `apply` takes by the same name."""
    apply: Callable[..., pl.DataFrame]


def ranked(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows in the order of their rank; equal scores are ordered by id, so the input's order has no say."""
    ordered = frame.sort("score", "id", descending=[True, False], nulls_last=True).with_row_index("rank", offset=1)
    return ordered.with_columns(pl.when(pl.col("score").is_not_null()).then(pl.col("rank").cast(pl.Int64)))


def decided(frame: pl.DataFrame, drop: pl.Expr, reason: pl.Expr) -> pl.DataFrame:
    """Adds `drop` and `reason`; a row without a score is kept."""
    unscored = pl.col("score").is_null()
    return frame.with_columns(
        drop=drop & ~unscored,
        reason=pl.when(unscored).then(pl.lit(NO_TOKENS)).otherwise(reason),
    ).select("id", "source", "score", "rank", "drop", "reason")


def whether(drop: pl.Expr, dropped: str, kept: str) -> pl.Expr:
    """One of two texts."""
    return pl.when(drop).then(pl.lit(dropped)).otherwise(pl.lit(kept))


def percent(share: float) -> str:
    return f"{100 * share:g}%"
