"""Drop the share of the examples that was forgotten most: exactly round(quantile * n) by rank, ties by id.

n counts the examples that have a score; a half is rounded to the even number, as Python does.

Example: quantile 0.3 of 10 scored examples drops ranks 1 to 3.
"""

import polars as pl

from .base import Rule, decided, percent, ranked, whether


def apply(frame: pl.DataFrame, signal: str, quantile: float) -> pl.DataFrame:
    """`quantile` is a share, 0 to 1."""
    count = frame["score"].count()
    drop = pl.col("rank") <= round(quantile * count)
    among = whether(drop, "among", "not among")
    reason = pl.format(f"rank {{}} of {count}: {{}} the {percent(quantile)} most forgotten", "rank", among)
    return decided(ranked(frame), drop, reason)


RULE = Rule(name="quantile", settings=("quantile",), apply=apply)
