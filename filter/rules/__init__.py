"""Rules, one a file: which of the forgotten examples are dropped."""

from forgetfilter.errors import UserError, nearest

from . import conformal, mixture, otsu, phi, quantile, source_budget, top_k
from .base import NO_TOKENS, NO_VALUE, PROBE, Rule, Scores, Verdict

__all__ = ["NO_TOKENS", "NO_VALUE", "PROBE", "RULES", "Rule", "Scores", "Verdict", "get"]

RULES: dict[str, Rule] = {
    module.RULE.name: module.RULE for module in (phi, quantile, top_k, source_budget, otsu, mixture, conformal)
}


def get(name: str) -> Rule:
    """The rule of that name; UserError with the nearest one where there is none."""
    if name not in RULES:
        raise UserError(f"filter.rule cannot be {name!r}{nearest(name, list(RULES))}")
    return RULES[name]
