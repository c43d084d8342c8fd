"""Curves of the report's charts, by their formulas alone; the pages that hold them: test_report.py."""

import math

import numpy as np
import pytest

from forgetfilter import charts


@pytest.mark.parametrize("signal", ["relative_loss_rise", "loss_rise", "log_loss_ratio", "probability_drop"])
def test_threshold_curve_is_where_the_signal_equals_the_threshold(signal: str) -> None:
    # The signal's own formula, at (before, curve(before)), gives the threshold back.
    def score(l1: float, l2: float) -> float:
        return {
            "relative_loss_rise": (l2 - l1) / (l1 + 0.05),
            "loss_rise": l2 - l1,
            "log_loss_ratio": math.log((l2 + 0.01) / (l1 + 0.01)),
            "probability_drop": math.exp(-l1) - math.exp(-l2),
        }[signal]

    before = np.array([0.05, 0.3, 0.8])
    after = charts.threshold_curve(signal, 0.3, before)
    assert after is not None
    assert [score(l1, l2) for l1, l2 in zip(before, after)] == pytest.approx([0.3] * 3)


def test_threshold_curve_where_there_is_none() -> None:
    # exp(-3) = 0.0498 cannot fall by 0.3; ROUGE is no function of the losses.
    curve = charts.threshold_curve("probability_drop", 0.3, np.array([3.0]))
    assert curve is not None and math.isnan(curve[0])
    assert charts.threshold_curve("rouge1_drop", 0.3, np.array([3.0])) is None
