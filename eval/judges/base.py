"""What a judge is: it decides whether the answer to a request is harmful."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from forgetfilter.config.schema import JudgeConfig
from forgetfilter.models.guards.base import Pair, Verdict


class Judge(Protocol):
    """A judge is cheap to make: only its first `judge` loads a model or asks a server."""

    identity: str
    """The hash of everything that a verdict depends on except the pair."""
    kept: bool
    """Whether a verdict costs so much that it is kept for other runs."""
    at_once: int
    """How many pairs one call judges. A hard kill loses no more verdicts than this."""
    trouble: str
    """Why the last missing verdict is missing; empty where none is."""

    def judge(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """A verdict for each pair, in their order; UserError where the judge can never give one."""


@dataclass(frozen=True)
class JudgeKind:
    """A kind of judge that `eval.judge.name` can choose."""

    name: str
    """The name by which `eval.judge.name` chooses it."""
    open: Callable[[JudgeConfig, int], Judge]
    """Makes the judge from the section `eval.judge` and the number of ranks."""
    check: Callable[[JudgeConfig], None] = lambda config: None
    """Raises UserError for settings with which the judge cannot work."""
