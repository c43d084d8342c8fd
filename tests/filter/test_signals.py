import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from forgetfilter.filter import rules, signals
from forgetfilter.filter.signals.ecdf import percentile
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.config import registry
from forgetfilter.config.schema import FilterConfig
from forgetfilter.errors import UserError

LISTED = [signal.name for signal in signals.every()]
# 4 tokens, sums 2 and 6 nats: l1 = 0.5, l2 = 1.5; l0 = 2.5
ROW: dict[str, Any] = {
    "num_tokens": 4,
    "base_loss_sum": 10.0,
    "control_loss_sum": 3.0,
    "before_loss_sum": 2.0,
    "after_loss_sum": 6.0,
    "before_rouge1": 0.9,
    "after_rouge1": 0.25,
    "probe_rise": 0.2,
    "cluster": 7,
    "safe_distance": 0.3,
    "gradient_distance": 0.3,
    "embedding_distance": 0.3,
    "guard": 0.88,
    "profanity": 0.2,
    "foretold_loss_rise": 0.9,
    "foretold_pooled_excess": 0.9,
    "token_accuracy_drop": 0.5,
    "token_rise_max": 2.0,
    "token_rise_top": 0.6,
    "token_rise_ratio": 1.905,
    "turn_rise_max": 3.0,
    "noisy_loss_rises": 1,
    "noisy_variability": 0.2,
    "noisy_confidence": 0.4,
    "key": 2**63,
}
# what the fitted signals saw: one cell and two clusters, rises 0, 1, 2 and 0.5 nats a token
SAMPLE = pl.DataFrame([ROW | {"after_loss_sum": a, "cluster": c} for a, c in ((2.0, 7), (6.0, 7), (10.0, 7), (4.0, 1))])


def scores(name: str, **columns: Any) -> list[float | None]:
    frame = pl.DataFrame({key: [value] for key, value in columns.items()}, strict=False)
    signal = signals.get(name)
    return frame.select(signal.bind(SAMPLE.select(signal.needs))).to_series().to_list()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loss_rise", 1.0),
        ("relative_loss_rise", 1.0 / 0.55),
        ("log_loss_ratio", 1.0854542),  # log(1.51 / 0.51) = log 3 + log 0.9869281 = 1.0986123 - 0.0131581
        ("total_loss_rise", 4.0),  # 6 - 2
        ("probability_drop", 0.3834005),  # 0.6065307 - 0.2231302
        ("rouge1_drop", 0.65),  # 0.9 - 0.25
        # rises 0, 0.5, 1, 2: median 0.75, deviations 0.75, 0.25, 0.25, 1.25: 0.5 * 1.4826; the floor is as large
        ("conditional_rise", 0.25 / (2 * 0.7413)),
        # cluster 7: rises 0, 1, 2: median 1
        ("cluster_rise", 0.0),
        # percentiles 1/8, 5/8, 7/8 in cluster 7: (1.625 + 1) / 5 + 0.625 / 4
        ("pooled_rise", 0.525 + 0.15625),
        ("excess_rise", 0.8),  # 1 - 0.2
        ("pooled_excess", 0.525 + 0.625),  # the same percentiles, as all rows have the same probes
        ("distilled_rise", 0.625),  # third of four; the texts foretell the same of all, which weighs nothing
        ("distilled_excess", 0.625),  # 1.15 is third of 0.65, 0.83, 1.15, 1.4
        ("contrastive_rise", 0.75),  # 1.5 - 0.75
        ("relative_contrastive_rise", 0.75 / 0.55),
        ("learned_share_lost", 0.5),  # 1 / (2.5 - 0.5)
        ("token_accuracy_drop", 0.5),
        ("largest_token_rise", 2.0),
        ("top_token_rise", 0.6),
        ("token_rise_ratio", 1.905),
        ("worst_turn_rise", 3.0),
        ("forgetting_events", 1.0),
        ("variability", 0.2),
        ("unlearnable", 0.6),
        ("base_loss", 2.5),
        ("safe_distance", 0.3),
        ("embedding_distance", 0.3),
        ("gradient_distance", 0.3),
        ("guard", 0.88),
        ("text_toxicity", 0.2),
        ("chance", 0.5),
    ],
)
def test_worked_examples(name: str, expected: float) -> None:
    # Each signal gives the number that the formula in its docstring gives.
    assert scores(name, **ROW) == [pytest.approx(expected, abs=1e-6)]


def test_every_signal_has_a_worked_example() -> None:
    # The list of worked examples has every signal.
    (mark,) = test_worked_examples.pytestmark  # type: ignore[attr-defined]
    assert sorted(name for name, _ in mark.args[1]) == LISTED


@pytest.mark.parametrize("name", LISTED)
def test_without_label_tokens_there_is_no_score(name: str) -> None:
    # An example without label tokens taught the model nothing, so it has no score.
    assert scores(name, **ROW | {"num_tokens": 0}) == [None]


@pytest.mark.parametrize("name", LISTED)
def test_needs_are_what_the_expression_reads(name: str) -> None:
    # A signal names exactly the columns that it reads, and is offered only where they are.
    signal = signals.get(name)
    assert set(signal.needs) == set(signal.bind(SAMPLE.select(signal.needs)).meta.root_names())
    assert signal in signals.available(signal.needs)
    assert signal not in signals.available(signal.needs[:-1])


losses = st.floats(0, 50)


@given(tokens=st.integers(1, 1000), before=losses, after=losses, more=st.floats(0, 10))
@settings(max_examples=25, deadline=None)
def test_direction(tokens: int, before: float, after: float, more: float) -> None:
    # Higher is more forgotten: a larger loss after, or a lower ROUGE-1 after, never lowers the score.
    for name in LISTED:
        start = ROW | {"num_tokens": tokens, "before_loss_sum": before * tokens, "before_rouge1": 0.5}
        less = scores(name, **start | {"after_loss_sum": after * tokens, "after_rouge1": 0.5})[0]
        lost = scores(name, **start | {"after_loss_sum": (after + more) * tokens, "after_rouge1": 0.5 - more / 20})[0]
        assert less is not None and lost is not None
        assert math.isfinite(lost) and lost >= less - 1e-12


def test_an_empty_or_constant_sample_still_gives_numbers() -> None:
    # A signal that is fitted on an empty or constant sample gives a finite number or none.
    for name in LISTED:
        signal = signals.get(name)
        for sample in (SAMPLE.clear(), pl.DataFrame([ROW] * 5)):
            (score,) = pl.DataFrame([ROW]).select(signal.bind(sample.select(signal.needs))).to_series()
            assert score is None or math.isfinite(score)


def test_rows_are_compared_with_those_of_like_loss_and_length() -> None:
    # In 400 rows those of high loss rise by 1 and long ones by 2 more; compared with rows of its own loss and length a
    # row of median rise stands near 0, where a comparison with all would put it at -0.5 to 0.5.
    def rows(low: bool, short: bool) -> list[dict[str, float]]:
        before, tokens, rise = 1.0 if low else 3.0, 10 if short else 90, (0 if low else 1.0) + (0 if short else 2.0)
        return [
            ROW
            | {"num_tokens": tokens, "before_loss_sum": (before + n / 1000) * tokens}
            | {"after_loss_sum": (before + n / 1000 + rise + 0.01 * (n % 11 - 5)) * tokens}
            for n in range(100)
        ]

    sample = pl.DataFrame([row for low in (True, False) for short in (True, False) for row in rows(low, short)])
    found = sample.select(signals.get("conditional_rise").bind(sample)).to_series().to_numpy().reshape(4, 100)
    assert np.abs(np.median(found, axis=1)).max() < 0.3


def test_a_cluster_that_the_sample_lacks_is_of_no_opinion() -> None:
    # A row of a cluster that is not in the sample has a half as its cluster's mean percentile.
    row = pl.DataFrame([ROW | {"cluster": 99}])
    own = pl.DataFrame([ROW]).select(signals.get("pooled_rise").bind(SAMPLE)).item() - 0.525
    assert row.select(signals.get("pooled_rise").bind(SAMPLE)).item() == pytest.approx(0.5 + own)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
@settings(max_examples=25, deadline=None)
def test_percentiles(values: list[float]) -> None:
    # Mid-rank percentiles keep the order, lie between 0 and 1, and have the mean one half over the sample.
    frame = pl.DataFrame({"x": values})
    rank = frame.select(percentile(pl.col("x"), frame)).to_series()
    assert rank.is_between(0, 1).all() and rank.mean() == pytest.approx(0.5)
    assert frame.with_columns(rank=rank).sort("x")["rank"].is_sorted()


finite = st.floats(-1e100, 1e100)


@given(values=st.lists(finite, min_size=1, max_size=30), given=st.lists(finite | st.just(math.nan)))
@settings(max_examples=25, deadline=None)
def test_percentiles_beyond_the_sample(values: list[float], given: list[float]) -> None:
    # Values that are not in the sample keep their order, and different values between two of the sample have different
    # percentiles.
    rank = pl.DataFrame({"x": given}, schema={"x": pl.Float64}).with_columns(
        rank=percentile(pl.col("x"), pl.DataFrame({"x": values}))
    )
    assert (rank["rank"].is_null() == rank["x"].is_nan()).all()
    known = rank.drop_nulls("rank").sort("x")
    assert known["rank"].is_sorted() and known["rank"].is_between(0, 1).all()
    infinite = pl.DataFrame({"x": [-math.inf, 0.0, 1.0, math.inf]})  # refused as a score, but combined with others
    assert infinite.select(percentile(pl.col("x"), infinite))["x"].to_list() == [0.125, 0.375, 0.625, 0.875]
    apart = pl.DataFrame({"x": [1.25, 1.5, 1.75]}).select(percentile(pl.col("x"), pl.DataFrame({"x": [1.0, 2.0, 3.0]})))
    assert apart["x"].to_list() == pytest.approx([0.25, 1 / 3, 5 / 12])


def test_combined_by_rank() -> None:
    # The combined score is the mean of the percentile ranks, and a row without one of the scores has none.
    both = signals.chosen("loss_rise", ["loss_rise", "base_loss"])
    expression = both.bind(SAMPLE.select(both.needs))
    assert both.name == "loss_rise+base_loss"
    # rise 1 is the third of four: 5/8; the base losses are all equal: 1/2
    assert pl.DataFrame([ROW]).select(expression).item() == pytest.approx((0.625 + 0.5) / 2)
    assert pl.DataFrame([ROW | {"base_loss_sum": None}], schema_overrides={"base_loss_sum": pl.Float64}).select(
        expression
    ).to_series().to_list() == [None]
    with pytest.raises(UserError, match=r"filter.combine cannot be 'base_los'; did you mean 'base_loss'\?"):
        signals.chosen("loss_rise", ["base_los"])


def test_config_knows_the_registries() -> None:
    # The names that the config allows are those of the signals and rules that exist.
    assert registry.SIGNALS.names == tuple(LISTED)
    assert registry.RULES.names == tuple(rule.name for rule in rules.every())


def test_rules_take_settings_that_the_config_has() -> None:
    # Every setting of a rule is a field of the config's filter section.
    fields = FilterConfig.__dataclass_fields__
    assert all(key in fields for rule in rules.every() for key in rule.settings)


def test_unknown_names() -> None:
    # A misspelt signal or rule is refused with the nearest name.
    with pytest.raises(UserError, match=r"filter.signal cannot be 'los_rise'; did you mean 'loss_rise'\?"):
        signals.get("los_rise")
    with pytest.raises(UserError, match=r"filter.rule cannot be 'quantil'; did you mean 'quantile'\?"):
        rules.get("quantil")


def test_a_fitted_signal_reads_its_sample() -> None:
    # A signal that depends on other rows is fitted on a sample and then applied to each row by itself.
    excess = signals.Signal(
        "excess",
        ("num_tokens",),
        "tokens",
        "above the mean",
        fit=lambda s: pl.col("num_tokens") - s["num_tokens"].mean(),
    )
    sample = pl.DataFrame({"num_tokens": [1, 3]})
    assert pl.DataFrame({"num_tokens": [5]}).select(excess.bind(sample)).item() == 3.0


def test_forecasts_weigh_as_much_as_they_have_proved() -> None:
    # Forecasts that agree with the ranks weigh four times as much as the row's own rank, and forecasts that contradict
    # them weigh nothing.
    signal = signals.get("distilled_rise")
    for foretold, weight in (([0.1, 0.5, 0.9, 0.3], 1.0), ([0.9, 0.5, 0.1, 0.7], 0.0)):
        sample = SAMPLE.with_columns(foretold_loss_rise=pl.Series(foretold))
        found = sample.select(signal.bind(sample.select(signal.needs))).to_series().to_list()
        own = [0.125, 0.625, 0.875, 0.375]
        assert found == [pytest.approx(rank * (0.25 * weight + 1)) for rank in own]
