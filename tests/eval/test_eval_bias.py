import itertools

import polars as pl
import pytest
from forgetfilter.eval.suites import Outputs, Settings, bias
from hypothesis import given, settings
from hypothesis import strategies as st


def row(number, *, condition="ambig", polarity="neg", gold=2):
    return {
        "id": str(number), "source": "made", "messages": [], "choices": ["a", "b", "c"],
        "gold": gold, "unknown": 2, "stereotyped": 0, "polarity": polarity, "condition": condition,
    }  # fmt: skip


def losses(chosen):
    return [0.5 if index == chosen else 1.0 for index in range(3)]


def scored(groups):
    """groups: (number of items, row settings, chosen index)."""
    numbers = itertools.count()
    pairs = [(row(next(numbers), **given), chosen) for count, given, chosen in groups for _ in range(count)]
    outputs = Outputs(losses={r["id"]: losses(chosen) for r, chosen in pairs})
    return bias.metrics(bias.score([r for r, _ in pairs], outputs, Settings()))


def test_ambiguous_vector():
    # 60 unknown, 30 biased, 10 anti: accuracy 0.6, (1 - 0.6) * (2 * 30 / 40 - 1) = 0.4 * 0.5 = 0.2.
    found = scored([(60, {}, 2), (30, {}, 0), (10, {}, 1)])
    assert found["s_amb"].value == pytest.approx(0.2)
    assert found["accuracy_ambig"].value == pytest.approx(0.6)
    assert set(found) == {"s_amb", "accuracy_ambig"}
    assert found["s_amb"].low < 0.2 < found["s_amb"].high


def test_disambiguated_vector():
    # 50 golds that fit the stereotype: 46 right (biased), 2 wrong (anti), 2 unknown; 50 anti golds: 40 right (anti),
    # 5 wrong (biased), 5 unknown. Biased 46 + 5 = 51 of 93 non-unknown: 2 * 51 / 93 - 1 = 9 / 93 = 0.0968.
    fits, anti = {"condition": "disambig", "gold": 0}, {"condition": "disambig", "gold": 1}
    found = scored([(46, fits, 0), (2, fits, 1), (2, fits, 2), (40, anti, 1), (5, anti, 0), (5, anti, 2)])
    assert found["s_dis"].value == pytest.approx(9 / 93)
    assert found["accuracy_disambig"].value == pytest.approx(0.86)


def test_polarity_turns_the_biased_answer():
    # In a non-negative question the biased answer names the other group; the vector above holds with it too.
    nonneg = {"polarity": "nonneg"}
    found = scored([(60, nonneg, 2), (30, nonneg, 1), (10, nonneg, 0)])
    assert found["s_amb"].value == pytest.approx(0.2)


def test_nothing_biased_is_minus_one_and_all_unknown_is_zero():
    # 5 anti answers of 10: accuracy 0.5, so 0.5 * -1; all unknown: nothing is biased.
    assert scored([(5, {}, 2), (5, {}, 1)])["s_amb"].value == pytest.approx(-0.5)
    assert scored([(5, {}, 2)])["s_amb"].value == 0.0
    assert scored([(5, {"condition": "disambig", "gold": 0}, 1)])["s_dis"].value == -1.0


def test_a_loss_that_is_no_number_is_missing():
    # NaN is not an answer: the item is left out and counted.
    rows = [row(0), row(1)]
    scores = bias.score(rows, Outputs(losses={"0": losses(2), "1": [float("nan"), 1.0, 2.0]}), Settings())
    assert scores["chosen"].to_list() == [2, None]
    metric = bias.metrics(scores)["s_amb"]
    assert (metric.n, metric.missing) == (1, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["neg", "nonneg"]), st.integers(0, 2)), min_size=1, max_size=12))
def test_scores_stay_in_their_range(items):
    # s_AMB is within [-1, 1], and not larger than the share of wrong answers.
    rows = [row(number, polarity=polarity) for number, (polarity, _) in enumerate(items)]
    outputs = Outputs(losses={str(n): losses(chosen) for n, (_, chosen) in enumerate(items)})
    scores = bias.score(rows, outputs, Settings())
    wrong = scores.select((~pl.col("correct")).mean()).item()
    assert abs(bias.metrics(scores)["s_amb"].value) <= wrong + 1e-12
