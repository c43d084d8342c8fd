"""Curves, samples and distributions of the report's charts; the pages that hold them: test_report.py."""

import polars as pl
import pytest
from toy_run import toy_decisions

from forgetfilter.report import charts


def test_the_line_of_the_threshold_is_drawn_where_there_is_one() -> None:
    # As summary.json has it; without it the diagonal stands alone.
    rows, line = toy_decisions(9, True), {"before": [0.1, 1.0], "after": [0.2, 1.5]}
    drawn = {trace.name: trace for trace in charts.forgetting_map(rows, line, 0).data}
    assert (list(drawn["threshold: dropped above"].x), list(drawn["threshold: dropped above"].y)) == (
        [0.1, 1],
        [0.2, 1.5],
    )
    assert "threshold: dropped above" not in {trace.name for trace in charts.forgetting_map(rows, None, 0).data}


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
