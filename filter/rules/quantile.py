"""Drop the share of the examples that was forgotten most: exactly round(quantile * n) by rank, ties by id.

n counts the examples that have a score; a half is rounded to the even number, as Python does.

Example: quantile 0.3 of 10 scored examples drops ranks 1 to 3.
"""

import polars as pl

from .base import Rule, Scores, Verdict, first, percent, steps, whether


def apply(scores: Scores, signal: str, quantile: float) -> Verdict:
    """`quantile` is a share, 0 to 1."""
    among = whether("among", "not among")
    reason = pl.format(f"rank {{}} of {scores.count}: {{}} the {percent(quantile)} most forgotten", "rank", among)
    return Verdict(first(scores, round(quantile * scores.count)), reason)


RULE = Rule(name="quantile", settings=("quantile",), apply=apply, sweep=lambda scores: steps(1))
