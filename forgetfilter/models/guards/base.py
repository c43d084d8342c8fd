"""A guard: a published model, the words in which it is asked, and how its answer is read."""

from dataclasses import dataclass

Pair = tuple[str, str]  # the request (the user's last turn) and the answer, which is not empty
Verdict = float | None  # 1 for harmful, 0 for not harmful, None where there is no verdict, which is neither
Chance = float | None  # the probability of harm, 0 to 1; None: there is no verdict


@dataclass(frozen=True)
class GuardKind:
    """Either of the two kinds below."""

    name: str
    """Its name in `score.guard.name` and `eval.judge.name`."""
    model: str
    """The name of the published weights; empty where the config must name them."""
    template: str
    """The text with {prompt} and {answer}, in the format that the guard was trained with: other words would be another
    judge. Empty, of a guard that writes: the tokenizer's chat template, with the answer as the assistant's turn."""


@dataclass(frozen=True)
class WritingKind(GuardKind):
    """A guard that writes its verdict."""

    verdict: str
    """The pattern of a written verdict, whose group is one of `words`; a text that it does not match is no verdict."""
    words: tuple[str, str]
    """The word that says harmful, and the word that says not harmful."""
    max_new_tokens: int


@dataclass(frozen=True)
class ClassifyingKind(GuardKind):
    """A guard that classifies texts."""

    above: float
    """The probability of a harmful label above which an answer is harmful."""
    labels: tuple[str, ...] = ()
    """The harmful labels, as forgetfilter/models/classifiers.py takes them."""
    longest: int | None = None
    """The most tokens that it reads, where its config allows more."""
    closed: bool = False
    """Whether the text ends with the end-of-sequence token."""
