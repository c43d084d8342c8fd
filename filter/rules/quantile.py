"""Drop the share of the examples that was forgotten most: exactly round(quantile * n) by rank, ties by id.

n counts the examples that have a score and are no probes; a half is rounded to the even number, as Python does.

Example: quantile 0.3 of 10 scored examples drops ranks 1 to 3.
"""

from .base import Known, Rule, Ruling, Scores, among, first, percent, steps


def apply(scores: Scores, signal: str, quantile: float) -> Ruling:
    """`quantile` is a share, 0 to 1."""
    number = round(quantile * len(scores.candidates))
    return Ruling(first(scores, number), among(f"{percent(quantile)} most forgotten"))


def hopeless(known: Known, quantile: float) -> str:
    return "" if round(quantile * known.rows) else f"filter.quantile={quantile:g} of {known.rows} rows is none"


RULE = Rule(
    name="quantile",
    settings=("quantile",),
    apply=apply,
    sweep=lambda scores: steps(1),
    doc="a share of the examples",
    hopeless=hopeless,
)
