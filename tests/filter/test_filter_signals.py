import math
from typing import Any

import polars as pl
import pytest
from forgetfilter.filter import rules, signals
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter import checks, config
from forgetfilter.errors import UserError


def scores(name: str, **columns: Any) -> list[float | None]:
    frame = pl.DataFrame({key: [value] for key, value in columns.items()}, strict=False)
    return frame.select(signals.get(name).bind(frame)).to_series().to_list()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # 4 tokens, sums 2 and 6 nats: l1 = 0.5, l2 = 1.5
        ("loss_rise", 1.0),
        ("relative_loss_rise", 1.0 / 0.55),
        ("log_loss_ratio", 1.0854542),  # log(1.51 / 0.51) = log 3 + log 0.9869281 = 1.0986123 - 0.0131581
        ("total_loss_rise", 4.0),  # 6 - 2
        ("probability_drop", 0.3834005),  # 0.6065307 - 0.2231302
        ("rouge1_drop", 0.65),  # 0.9 - 0.25
    ],
)
def test_worked_examples(name: str, expected: float) -> None:
    # each signal gives the number of its own docstring
    row = {"num_tokens": 4, "before_loss_sum": 2.0, "after_loss_sum": 6.0, "before_rouge1": 0.9, "after_rouge1": 0.25}
    assert scores(name, **row) == [pytest.approx(expected, abs=1e-6)]


@pytest.mark.parametrize("name", list(signals.SIGNALS))
def test_without_label_tokens_there_is_no_score(name: str) -> None:
    # nothing was learned of an example without label tokens, so nothing can be said of it
    row = {"num_tokens": 0, "before_loss_sum": 0.0, "after_loss_sum": 0.0, "before_rouge1": 0.9, "after_rouge1": 0.1}
    assert scores(name, **row) == [None]


@pytest.mark.parametrize("name", list(signals.SIGNALS))
def test_needs_are_what_the_expression_reads(name: str) -> None:
    # a signal is offered exactly where its columns are
    signal = signals.get(name)
    assert set(signal.needs) == set(signal.bind(pl.DataFrame(schema=signal.needs)).meta.root_names())
    assert signal in signals.available(signal.needs)
    assert signal not in signals.available(signal.needs[:-1])


losses = st.floats(0, 50)


@given(tokens=st.integers(1, 1000), before=losses, after=losses, more=st.floats(0, 10))
@settings(max_examples=25, deadline=None)
def test_direction(tokens: int, before: float, after: float, more: float) -> None:
    # higher is more forgotten: a larger loss after, or a lower ROUGE-1 after, never lowers the score
    assert signals.HIGHER_IS_MORE_FORGOTTEN
    for name in signals.SIGNALS:
        given_loss = {"num_tokens": tokens, "before_loss_sum": before * tokens, "before_rouge1": 0.5}
        less = scores(name, **given_loss, after_loss_sum=after * tokens, after_rouge1=0.5)[0]
        lost = scores(name, **given_loss, after_loss_sum=(after + more) * tokens, after_rouge1=0.5 - more / 20)[0]
        assert less is not None and lost is not None
        assert math.isfinite(lost) and lost >= less - 1e-12


def test_config_knows_the_registries() -> None:
    # the names that the config allows are those that exist
    assert tuple(signals.SIGNALS) == checks.SIGNALS
    assert tuple(rules.RULES) == checks.RULES


def test_rules_take_settings_that_the_config_has() -> None:
    # a rule's settings are fields of the config's filter section
    fields = config.FilterConfig.__dataclass_fields__
    assert all(key in fields for rule in rules.RULES.values() for key in rule.settings)


def test_unknown_names() -> None:
    # a slip of the pen gets the nearest name
    with pytest.raises(UserError, match=r"filter.signal cannot be 'los_rise'; did you mean 'loss_rise'\?"):
        signals.get("los_rise")
    with pytest.raises(UserError, match=r"filter.rule cannot be 'quantil'; did you mean 'quantile'\?"):
        rules.get("quantil")


def test_a_fitted_signal_reads_its_sample() -> None:
    # what depends on other rows is fitted on a sample, and then applied to each row by itself
    excess = signals.Signal(
        "excess",
        ("num_tokens",),
        "tokens",
        "above the mean",
        fit=lambda s: pl.col("num_tokens") - s["num_tokens"].mean(),
    )
    sample = pl.DataFrame({"num_tokens": [1, 3]})
    assert pl.DataFrame({"num_tokens": [5]}).select(excess.bind(sample)).item() == 3.0
