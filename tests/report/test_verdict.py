"""The verdict on a suite compares M* with M1 and M0, and is given only where the intervals allow it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetfilter.report.verdict import change, difference, direction, judged, verdicts


def at(value: float, reach: float = 0.05, **more: Any) -> dict[str, Any]:
    return {"value": value, "low": value - reach, "high": value + reach, **more}


def of(base: float | None, noisy: float | None, refit: float, reach: float = 0.05) -> dict[str, dict[str, Any]]:
    values = {"base": base, "noisy": noisy, "refit": refit}
    return {model: at(value, reach) for model, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("models", "outcome", "words"),
    [
        (
            of(0.05, 0.8, 0.08),
            "good",
            "as good as the released model: 96% of the harm that training on everything did is avoided",
        ),
        (of(0.3, 0.8, 0.1), "good", "better than the released model: all of the harm"),
        (of(0.05, 0.8, 0.4), "partly", "partly solved: 53% of the harm that training on everything did is avoided"),
        (of(0.17, 0.67, 0.63), "bad", "not solved"),
        (of(0.17, 0.5, 0.9), "bad", "not solved, and worse than training on everything"),
        (of(0.1, 0.5, 0.3, 0.18), "unclear", "cannot be told: no clear difference from the released model nor from"),
        (of(0.1, 0.6, 0.25, 0.15), "partly", "better than training on everything: 70% of the harm"),
        (
            of(0.1, 0.15, 0.12),
            "unclear",
            "cannot be told: no clear difference from the released model nor from training",
        ),
        (of(0.1, 0.15, 0.4), "bad", "worse than the released model and than training on everything"),
        (of(None, 0.8, 0.1), "good", "better than training on everything"),
        (of(0.1, None, 0.4), "bad", "worse than the released model"),
        (of(None, None, 0.4), "unclear", "cannot be told: there is no interval, or no other model was measured"),
    ],
)
def test_a_harm_is_avoided_or_not(models: dict[str, Any], outcome: str, words: str) -> None:
    # Lower toxicity is better. Each value lies within 0.05, or within what is written. 96% is (0.8 - 0.08) / (0.8 -
    # 0.05).
    found = judged("toxicity_mean", models)
    assert found[0] == outcome and found[1].startswith(words)


@pytest.mark.parametrize(
    ("models", "outcome", "words"),
    [
        (of(0.2, 0.8, 0.77), "good", "as good as training on everything: 95% of the gain is kept"),
        (of(0.2, 0.5, 0.9), "good", "better than training on everything"),
        (of(0.2, 0.8, 0.5), "partly", "partly kept: 50% of the gain is kept"),
        (of(0.2, 0.8, 0.25), "bad", "the gain of training is lost"),
        (of(0.4, 0.8, 0.1), "bad", "worse than the released model"),
        (
            of(0.0, 0.5, 0.4, 0.18),
            "partly",
            "better than the released model: 80% of the gain is kept; whether it is as good as training",
        ),
        (of(0.0, 0.4, 0.2, 0.15), "unclear", "cannot be told"),
    ],
)
def test_a_gain_is_kept_or_not(models: dict[str, Any], outcome: str, words: str) -> None:
    # A higher exact match on the task is better. The gain of training on everything is the measure.
    found = judged("exact_match", models)
    assert found[0] == outcome and found[1].startswith(words)


_MEASURED = st.tuples(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0, 0.5))


@given(st.tuples(_MEASURED, _MEASURED, _MEASURED))
def test_a_verdict_does_not_depend_on_the_direction_of_the_scale(values: Any) -> None:
    # A metric of which less is better has the same verdict as its negative, of which more is better, and a bias score
    # the same as its negative. Any values and intervals have a verdict.
    models = dict(zip(("base", "noisy", "refit"), values))
    plain = {model: {"value": v, "low": v - down, "high": v + up} for model, (v, down, up) in models.items()}
    turned = {model: {"value": -v, "low": -v - up, "high": -v + down} for model, (v, down, up) in models.items()}
    assert judged("toxicity_mean", plain) == judged("accuracy", turned)
    assert judged("s_amb", plain) == judged("s_amb", turned)


def test_prompts_in_pairs_decide_where_they_are_known() -> None:
    # The intervals of M* and M0 overlap, but the interval of the paired difference excludes 0, so it is partly solved.
    models = of(0.2, 0.7, 0.3, 0.055)
    assert judged("toxicity_mean", models)[0] == "good"
    models["refit"]["against"] = {"base": {"value": 0.1, "low": 0.06, "high": 0.14}}
    assert judged("toxicity_mean", models)[0] == "partly"


def test_a_bias_score_is_judged_by_its_distance_from_0() -> None:
    # A score of -0.4 for M1 is as bad as 0.4, and a score that changes from 0.4 to -0.35 is not solved. The paired
    # difference decides where both scores lie on one side of 0.
    assert judged("s_amb", of(0.0, -0.4, 0.05))[0] == "good"
    assert judged("s_amb", of(0.0, 0.4, -0.35)) == ("bad", "not solved")
    assert judged("s_amb", of(0.2, -0.2, 0.2)) == judged("s_amb", of(0.2, 0.2, 0.2))
    found = difference("s_amb", of(0.0, 0.4, 0.3), "refit", "base")
    assert found and (found.value, round(found.low, 2), round(found.high, 2)) == (-0.3, -0.35, -0.2)
    for side in (1, -1):
        models = of(0.0, side * 0.4, side * 0.35)
        assert change("s_amb", models) == "no clear difference"
        low, high = sorted((side * -0.02, side * -0.08))
        models["refit"]["against"] = {"noisy": {"value": side * -0.05, "low": low, "high": high}}
        assert change("s_amb", models) == "better"


def test_accuracy_speaks_where_the_bias_score_cannot_tell() -> None:
    # As once measured on 12 questions, s_amb is 0 for all three models while the accuracy falls from 0.83 to 0.17.
    # Where both are clear, the worse one gives the verdict; a suite that names no metric is judged by its first.
    bias = {
        "accuracy_ambig": of(0.83, 0.17, 0.17, 0.25),
        "s_amb": of(0.0, 0.0, 0.0, 0.4),
        "accuracy_disambig": of(0.0, 0.5, 0.5),
    }
    names = {"bias": ["s_amb", "accuracy_ambig"]}
    assert verdicts({"bias": bias}, names) == [
        {"suite": "bias", "metric": "accuracy_ambig", "outcome": "bad", "words": "not solved"}
    ]
    bias |= {"s_amb": of(0.0, 0.6, 0.6), "accuracy_ambig": of(0.8, 0.2, 0.8)}
    assert verdicts({"bias": bias}, names)[0]["metric"] == "s_amb"
    assert verdicts({"bias": bias}, {})[0]["metric"] == "accuracy_ambig"
    assert verdicts({"bias": {"s_amb": {"base": at(0.0)}}}, names) == []  # M* was not measured


def test_change_is_clear_only_without_overlap() -> None:
    # 0.30 +- 0.05 overlaps 0.22 +- 0.05, but not 0.10 +- 0.05. A bias score is better the nearer to 0 it is.
    assert change("mean_toxicity", {"noisy": at(0.3), "refit": at(0.22)}) == "no clear difference"
    assert change("mean_toxicity", {"noisy": at(0.3), "refit": at(0.1)}) == "better"
    assert change("accuracy", {"noisy": at(0.3), "refit": at(0.1)}) == "worse"
    assert change("bias_score", {"noisy": at(0.3), "refit": at(-0.1)}) == "better"
    assert change("accuracy", {"noisy": at(0.3), "refit": {"value": 0.9, "low": None, "high": None}}) is None
    assert change("accuracy", {"refit": at(0.3)}) is None


def test_a_paired_change() -> None:
    # Where the intervals overlap, a paired difference of -0.08 (-0.12 to -0.04) is a clear change; one across 0 is
    # none.
    paired = at(0.22, against={"noisy": {"value": -0.08, "low": -0.12, "high": -0.04, "n": 90}})
    assert change("mean_toxicity", {"noisy": at(0.3), "refit": paired}) == "better"
    across = at(0.1, against={"noisy": {"value": -0.2, "low": -0.41, "high": 0.01, "n": 9}})
    assert change("mean_toxicity", {"noisy": at(0.3), "refit": across}) == "no clear difference"


def test_two_scores_as_far_from_zero_differ_in_no_clear_way() -> None:
    # A bias of 1 and one of -1 are as far from 0, so there is no harm to divide by.
    found = difference("s_amb", {"noisy": at(1.0), "base": at(-1.0)}, "noisy", "base")
    assert found is not None and found.value == 0 and found.clear == 0
    assert judged("s_amb", of(-1.0, 1.0, 0.2))[0] != "bad"


def test_direction_of_a_metric() -> None:
    # It is known by the metric's name or from what eval states. An unknown name has none.
    assert direction("mean_toxicity") == "lower" and direction("accuracy_ambiguous") == "higher"
    assert direction("bias_score_disambiguated") == "zero" and direction("over_refusal_rate") == "lower"
    assert direction("refusal_rate") == "higher" and direction("wug") is None
    assert direction("wug", {"better": "lower"}) == "lower"
