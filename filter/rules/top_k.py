"""Drop the k examples that were forgotten most, ties by id.

Example: top_k 10 of 400 examples drops ranks 1 to 10; of 4 examples it drops all.
"""

import polars as pl

from .base import Rule, Scores, Verdict, first, steps, whether


def apply(scores: Scores, signal: str, top_k: int) -> Verdict:
    """`top_k` is a number of examples."""
    among = whether("among", "not among")
    reason = pl.format(f"rank {{}} of {scores.count}: {{}} the {top_k} most forgotten", "rank", among)
    return Verdict(first(scores, top_k), reason)


def sweep(scores: Scores) -> list[float]:
    return sorted({round(value) for value in steps(scores.count)})


RULE = Rule(name="top_k", settings=("top_k",), apply=apply, sweep=sweep)
