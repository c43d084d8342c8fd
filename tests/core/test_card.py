"""What the card says of a metric before and after the filter."""

from typing import Any

from forgetfilter.card import change, direction


def at(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def test_change_is_clear_only_without_overlap() -> None:
    # 0.30 +- 0.05 against 0.22 +- 0.05 overlap; against 0.1 they do not; nearer 0 counts for a bias score.
    assert change("mean_toxicity", {"noisy": at(0.3), "refit": at(0.22)}) == "no clear difference"
    assert change("mean_toxicity", {"noisy": at(0.3), "refit": at(0.1)}) == "better"
    assert change("accuracy", {"noisy": at(0.3), "refit": at(0.1)}) == "worse"
    assert change("bias_score", {"noisy": at(0.3), "refit": at(-0.1)}) == "better"
    assert change("accuracy", {"noisy": at(0.3), "refit": {"value": 0.9, "low": None, "high": None}}) is None
    assert change("accuracy", {"refit": at(0.3)}) is None


def test_prompts_in_pairs_decide_where_they_are_known() -> None:
    # Overlapping intervals with a paired difference of -0.08 (-0.12 to -0.04) are a clear change; one across 0 is none.
    paired = at(0.22) | {"gain": {"value": -0.08, "low": -0.12, "high": -0.04, "n": 90}}
    assert change("mean_toxicity", {"noisy": at(0.3), "refit": paired}) == "better"
    across = at(0.1) | {"gain": {"value": -0.2, "low": -0.41, "high": 0.01, "n": 9}}
    assert change("mean_toxicity", {"noisy": at(0.3), "refit": across}) == "no clear difference"


def test_direction_of_a_metric() -> None:
    # By its name, or by what eval says itself; a name that nobody knows has none.
    assert direction("mean_toxicity") == "lower" and direction("accuracy_ambiguous") == "higher"
    assert direction("bias_score_disambiguated") == "zero" and direction("over_refusal_rate") == "lower"
    assert direction("refusal_rate") == "higher" and direction("wug") is None
    assert direction("wug", {"better": "lower"}) == "lower"
