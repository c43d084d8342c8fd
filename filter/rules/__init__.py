"""The rules, each in a file of its own: which of the forgotten examples are dropped."""

from forgetfilter.config import registry

from .base import NO_TOKENS, NO_VALUE, PROBE, Known, Rule, Ruling, Scores
from .estimate import estimate

__all__ = ["NO_TOKENS", "NO_VALUE", "PROBE", "Known", "Rule", "Ruling", "Scores", "estimate", "every", "get"]


def every() -> list[Rule]:
    """All rules in the order of their names, those of other packages too. UserError for a package that is broken."""
    members = registry.RULES.members
    return [rule for name in sorted(members) if isinstance(rule := members[name], Rule)]


def get(name: str) -> Rule:
    """The rule of that name; UserError with the nearest one where there is none."""
    rule = registry.RULES.get(name, "filter.rule")
    assert isinstance(rule, Rule)
    return rule
