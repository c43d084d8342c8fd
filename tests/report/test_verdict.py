"""The verdict on a suite: M* beside M1 and M0, told only where the intervals tell."""

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
            "as the released model: 96% of the harm that training on everything did is avoided",
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
    # Toxicity, lower is better: each value within 0.05, or as far as is written. 96% is (0.8 - 0.08) / (0.8 - 0.05).
    found = judged("toxicity_mean", models)
    assert found[0] == outcome and found[1].startswith(words)


@pytest.mark.parametrize(
    ("models", "outcome", "words"),
    [
        (of(0.2, 0.8, 0.77), "good", "as when trained on everything: 95% of the gain is kept"),
        (of(0.2, 0.5, 0.9), "good", "better than when trained on everything"),
        (of(0.2, 0.8, 0.5), "partly", "partly kept: 50% of the gain is kept"),
        (of(0.2, 0.8, 0.25), "bad", "the gain of training is lost"),
        (of(0.4, 0.8, 0.1), "bad", "worse than the released model"),
        (
            of(0.0, 0.5, 0.4, 0.18),
            "partly",
            "better than the released model: 80% of the gain is kept; whether it is as when trained",
        ),
        (of(0.0, 0.4, 0.2, 0.15), "unclear", "cannot be told"),
    ],
)
def test_a_gain_is_kept_or_not(models: dict[str, Any], outcome: str, words: str) -> None:
    # The task's exact match, higher is better: what training on everything gained is the measure.
    found = judged("exact_match", models)
    assert found[0] == outcome and found[1].startswith(words)


_MEASURED = st.tuples(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0, 0.5))


@given(st.tuples(_MEASURED, _MEASURED, _MEASURED))
def test_a_verdict_does_not_depend_on_the_direction_of_the_scale(values: Any) -> None:
    # A metric of which less is better, and the same with its sign turned, of which more is better, have one verdict; so
    # has every bias score whose sign is turned. No values and intervals are without one.
    models = dict(zip(("base", "noisy", "refit"), values))
    plain = {model: {"value": v, "low": v - down, "high": v + up} for model, (v, down, up) in models.items()}
    turned = {model: {"value": -v, "low": -v - up, "high": -v + down} for model, (v, down, up) in models.items()}
    assert judged("toxicity_mean", plain) == judged("accuracy", turned)
    assert judged("s_amb", plain) == judged("s_amb", turned)


def test_prompts_in_pairs_decide_where_they_are_known() -> None:
    # The intervals of M* and M0 overlap, the paired difference of 0.1 does not reach 0: it is not solved.
    models = of(0.2, 0.7, 0.3, 0.055)
    assert judged("toxicity_mean", models)[0] == "good"
    models["refit"]["against"] = {"base": {"value": 0.1, "low": 0.06, "high": 0.14}}
    assert judged("toxicity_mean", models)[0] == "partly"


def test_a_bias_score_is_judged_by_its_distance_from_0() -> None:
    # -0.4 of M1 is as bad as 0.4, and one that changes its side by 0.4 is no nearer to 0. Prompts in pairs decide where
    # both scores lie on one side.
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
    # As measured once on 12 questions: s_amb is 0 of all three while accuracy falls from 0.83 to 0.17. Where both tell,
    # the worse of the two speaks; a suite that names no metric has its first.
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
    # 0.30 +- 0.05 against 0.22 +- 0.05 overlap; against 0.1 they do not; nearer 0 counts for a bias score.
    assert change("mean_toxicity", {"noisy": at(0.3), "refit": at(0.22)}) == "no clear difference"
    assert change("mean_toxicity", {"noisy": at(0.3), "refit": at(0.1)}) == "better"
    assert change("accuracy", {"noisy": at(0.3), "refit": at(0.1)}) == "worse"
    assert change("bias_score", {"noisy": at(0.3), "refit": at(-0.1)}) == "better"
    assert change("accuracy", {"noisy": at(0.3), "refit": {"value": 0.9, "low": None, "high": None}}) is None
    assert change("accuracy", {"refit": at(0.3)}) is None


def test_a_paired_change() -> None:
    # Overlapping intervals with a paired difference of -0.08 (-0.12 to -0.04) are a clear change; one across 0 is none.
    paired = at(0.22, against={"noisy": {"value": -0.08, "low": -0.12, "high": -0.04, "n": 90}})
    assert change("mean_toxicity", {"noisy": at(0.3), "refit": paired}) == "better"
    across = at(0.1, against={"noisy": {"value": -0.2, "low": -0.41, "high": 0.01, "n": 9}})
    assert change("mean_toxicity", {"noisy": at(0.3), "refit": across}) == "no clear difference"


def test_two_scores_as_far_from_zero_differ_in_no_clear_way() -> None:
    # A bias of 1 in one direction and of 1 in the other: neither is nearer to 0, and there is no harm to divide by.
    found = difference("s_amb", {"noisy": at(1.0), "base": at(-1.0)}, "noisy", "base")
    assert found is not None and found.value == 0 and found.clear == 0
    assert judged("s_amb", of(-1.0, 1.0, 0.2))[0] != "bad"


def test_direction_of_a_metric() -> None:
    # By its name, or by what eval says itself; a name that nobody knows has none.
    assert direction("mean_toxicity") == "lower" and direction("accuracy_ambiguous") == "higher"
    assert direction("bias_score_disambiguated") == "zero" and direction("over_refusal_rate") == "lower"
    assert direction("refusal_rate") == "higher" and direction("wug") is None
    assert direction("wug", {"better": "lower"}) == "lower"
