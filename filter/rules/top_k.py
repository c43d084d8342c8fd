"""Drop the k examples that were forgotten most, ties by id.

Example: top_k 10 of 400 examples drops ranks 1 to 10; of 4 examples it drops all.
"""

import polars as pl

from .base import Rule, decided, ranked, whether


def apply(frame: pl.DataFrame, signal: str, top_k: int) -> pl.DataFrame:
    """`top_k` is a number of examples."""
    drop = pl.col("rank") <= top_k
    among = whether(drop, "among", "not among")
    reason = pl.format(
        f"rank {{}} of {frame['score'].count()}: {{}} the {top_k} most forgotten",
        "rank",
        among,
    )
    return decided(ranked(frame), drop, reason)


RULE = Rule(name="top_k", settings=("top_k",), apply=apply)
