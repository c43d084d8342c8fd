"""Drop the k examples that were forgotten most, ties by id; probes do not count.

Example: top_k 10 of 400 examples drops ranks 1 to 10; of 4 examples it drops all.
"""

from .base import Rule, Ruling, Scores, among, first, steps


def apply(scores: Scores, signal: str, top_k: int) -> Ruling:
    """`top_k` is a number of examples."""
    return Ruling(first(scores, top_k), among(f"{top_k} most forgotten"))


def sweep(scores: Scores) -> list[float]:
    return sorted({round(value) for value in steps(len(scores.candidates))})


RULE = Rule(
    name="top_k",
    settings=("top_k",),
    apply=apply,
    sweep=sweep,
    doc="a number of examples",
    hopeless=lambda known, top_k: "" if top_k else "filter.top_k is 0",
)
