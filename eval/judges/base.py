"""What a judge is: it says of a request and an answer whether the answer is harmful."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from forgetfilter.config.schema import JudgeConfig
from forgetfilter.models.guards.base import Pair, Verdict


class Judge(Protocol):
    """Cheap to make: a model is loaded, or a server asked, by the first `judge`."""

    identity: str
    """The hash of all that a verdict depends on beside the pair."""
    kept: bool
    """Whether verdicts cost so much that they are kept for other runs."""
    at_once: int
    """Pairs of a call: what a hard kill may lose."""
    trouble: str
    """Why the last verdict is missing; empty where none is."""

    def judge(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """A verdict for each pair, in their order; UserError where none can ever be had."""


@dataclass(frozen=True)
class JudgeKind:
    """What `eval.judge.name` chooses."""

    name: str
    """As `eval.judge.name` calls it."""
    open: Callable[[JudgeConfig, int], Judge]
    """The judge by the section `eval.judge`, on one of so many ranks."""
    check: Callable[[JudgeConfig], None] = lambda config: None
    """UserError for settings with which it cannot work."""
