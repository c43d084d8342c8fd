from typing import Any

import pytest
from forgetfilter.filter import rules

from forgetfilter.errors import UserError

KNOWN = rules.Known(rows=400, probes=40, sources=("web", "forum"))


@pytest.mark.parametrize(
    ("rule", "given", "why"),
    [
        ("quantile", {"quantile": 0.001}, "filter.quantile=0.001 of 400 rows is none"),
        ("quantile", {"quantile": 0.01}, ""),
        ("top_k", {"top_k": 0}, "filter.top_k is 0"),
        ("source_budget", {"source_budget": {"web": 0.0}}, "every share of filter.source_budget is 0"),
        ("source_budget", {"source_budget": {"web": 0.0, "forum": 0.1}}, ""),
        ("conformal", {"max_false_drop": 0.1, "fdr": None, "confidence": 0.975}, ""),
        ("conformal", {"max_false_drop": 0.01, "fdr": None, "confidence": 0.975}, "40 probes are too few for filter.m"),
        ("conformal", {"max_false_drop": 0.1, "fdr": 0.02, "confidence": 0.975}, "40 probes are too few for filter.f"),
        ("conformal", {"max_false_drop": 0.1, "fdr": 0.025, "confidence": 0.975}, ""),
        (
            "conformal",
            {"max_false_drop": 0.02, "fdr": None, "confidence": "auto"},
            "40 probes are too few for filter.m",
        ),
        ("conformal", {"max_false_drop": 0.03, "fdr": None, "confidence": "auto"}, ""),
        ("otsu", {}, ""),
        ("phi", {"phi": 3.0}, ""),
    ],
)
def test_a_rule_that_can_drop_nothing_is_known_from_the_counts(rule: str, given: dict[str, Any], why: str) -> None:
    # Without any score it is known whether a rule can drop a row: with 40 probes, for example, no p-value is below 1 /
    # 41.
    assert rules.get(rule).hopeless(KNOWN, **given)[: len(why) or None].startswith(why)
    assert bool(rules.get(rule).hopeless(KNOWN, **given)) == bool(why)


def test_a_budget_of_a_source_that_is_not_there_is_refused() -> None:
    # The error of an unknown source gives the nearest name.
    with pytest.raises(UserError, match=r"filter\.source_budget\.forun: .*did you mean 'forum'"):
        rules.get("source_budget").hopeless(KNOWN, source_budget={"forun": 0.5})
