import math

import numpy as np
import polars as pl
import pytest
from forgetfilter.filter import signals
from forgetfilter.filter.threshold_line import losses_after, threshold_line


@pytest.mark.parametrize("signal", ["relative_loss_rise", "loss_rise", "log_loss_ratio", "probability_drop"])
def test_threshold_curve_is_where_the_signal_equals_the_threshold(signal: str) -> None:
    # The signal's own formula at (before, curve(before)) gives the threshold back.
    def score(l1: float, l2: float) -> float:
        return {
            "relative_loss_rise": (l2 - l1) / (l1 + 0.05),
            "loss_rise": l2 - l1,
            "log_loss_ratio": math.log((l2 + 0.01) / (l1 + 0.01)),
            "probability_drop": math.exp(-l1) - math.exp(-l2),
        }[signal]

    before = np.array([0.05, 0.3, 0.8])
    after = losses_after(signals.get(signal), 0.3, before)
    assert after is not None
    assert [score(l1, l2) for l1, l2 in zip(before, after)] == pytest.approx([0.3] * 3)


def test_threshold_curve_where_there_is_none() -> None:
    # There is no curve where the signal cannot reach the threshold, as exp(-3) = 0.0498 cannot fall by 0.3, and none
    # for ROUGE, which is no function of the losses.
    curve = losses_after(signals.get("probability_drop"), 0.3, np.array([3.0]))
    assert curve is not None and math.isnan(curve[0])
    assert losses_after(signals.get("rouge1_drop"), 0.3, np.array([3.0])) is None


def test_signals_of_losses_are_those_that_the_number_of_tokens_does_not_move() -> None:
    # A row of twice the tokens with the same mean losses has the same score by exactly those signals that call
    # themselves functions of the losses.
    rows = pl.DataFrame({"num_tokens": [2, 4], "before_loss_sum": [1.0, 2.0], "after_loss_sum": [3.0, 6.0]})
    plain = [
        signal for signal in signals.every() if signal.expression is not None and {*signal.needs} <= {*rows.columns}
    ]
    for signal in plain:
        assert rows.select(signal.bind(rows)).to_series().n_unique() == (1 if signal.of_losses else 2), signal.name
    assert not [signal.name for signal in signals.every() if signal.of_losses and signal not in plain]


def test_the_line_spans_the_losses() -> None:
    # With mean losses of 0.5 and 2 before and 0.5 to 8 after, the line spans 0.25 to 16; there is none without a
    # threshold, or if no loss after reaches it.
    rows = pl.DataFrame({"num_tokens": [2, 1, 0], "before_loss_sum": [1.0, 2.0, 0], "after_loss_sum": [1.0, 8.0, 0]})
    line = threshold_line(signals.get("loss_rise"), 0.5, rows)
    assert line is not None and (line["before"][0], line["before"][-1]) == (0.25, 16)
    assert [after - before for before, after in zip(*line.values())] == pytest.approx([0.5] * 29, rel=1e-3)
    assert threshold_line(signals.get("loss_rise"), None, rows) is None
    assert threshold_line(signals.get("probability_drop"), 0.99, rows) is None
    assert threshold_line(signals.get("total_loss_rise"), 0.5, rows) is None
