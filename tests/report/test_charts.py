"""Curves, samples and distributions of the report's charts; the pages that hold them: test_report.py."""

import math

import numpy as np
import polars as pl
import pytest
from toy_run import toy_decisions

from forgetfilter.report import charts


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


def test_sample_keeps_the_dropped_rows_first() -> None:
    # 27 of 90 are dropped: a sample of 40 holds all of them, one of 10 only such; the seed fixes it.
    rows = toy_decisions(90, True)
    assert charts.sample(rows, 40, seed=0)["drop"].sum() == 27
    assert charts.sample(rows, 10, seed=0)["drop"].to_list() == [True] * 10
    assert charts.sample(rows, 40, seed=1).equals(charts.sample(rows, 40, seed=1))
    assert len(charts.sample(rows, 90, seed=0)) == 90


def test_more_sources_than_colours_become_one_grey_group() -> None:
    # 9 sources on 7 colours: the 7 named ones and the others together.
    names = [f"s{number}" for number in range(9) for _ in range(12 - number)]
    rows = toy_decisions(len(names), False).with_columns(source=pl.Series(names))
    figure = charts.distribution(rows, "source", "unit", None)
    shown = [trace.name.split(" (")[0] for trace in figure.data]
    assert shown == [*(f"s{number}" for number in range(7)), charts.OTHER]
    assert figure.data[-1].line.color == charts.GREY


def test_distribution_counts_every_row_once() -> None:
    # The shares of a group sum to 1, outliers included.
    rows = toy_decisions(90, True).with_columns(score=pl.when(pl.col("rank") == 1).then(1e6).otherwise("score"))
    for trace in charts.distribution(rows, "source", "unit", 0.3).data[:3]:
        assert sum(trace.y) == pytest.approx(1)
