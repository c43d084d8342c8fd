"""The rules, each in a file of its own: which of the forgotten examples are dropped."""

from forgetfilter.config import registry

from .base import NO_TOKENS, NO_VALUE, PROBE, Known, Rule, Ruling, Scores, judge
from .estimate import Estimate, estimate

__all__ = [
    "NO_TOKENS",
    "NO_VALUE",
    "PROBE",
    "Estimate",
    "Known",
    "Rule",
    "Ruling",
    "Scores",
    "estimate",
    "every",
    "get",
    "judge",
]


def every() -> list[Rule]:
    """All rules in the order of their names, those of other packages too. UserError for a package that is broken."""
    return registry.RULES.every(Rule)


def get(name: str) -> Rule:
    """The rule of that name; UserError with the nearest one where there is none."""
    return registry.RULES.find(Rule, name, "filter.rule")
