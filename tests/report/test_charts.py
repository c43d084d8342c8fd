"""Curves, samples and distributions of the report's charts. test_page.py tests the page that holds them."""

import polars as pl
import pytest
from toy_run import toy_decisions

from forgetfilter.report import charts


def test_the_line_of_the_threshold_is_drawn_where_there_is_one() -> None:
    # The line is drawn as summary.json has it. Without one the diagonal stands alone.
    rows, line = toy_decisions(9, True), {"before": [0.1, 1.0], "after": [0.2, 1.5]}
    drawn = {trace.get("name"): trace for trace in charts.forgetting_map(rows, line, 0).data}
    assert (drawn["threshold: rows above are dropped"]["x"], drawn["threshold: rows above are dropped"]["y"]) == (
        [0.1, 1],
        [0.2, 1.5],
    )
    assert "threshold: rows above are dropped" not in {
        trace.get("name") for trace in charts.forgetting_map(rows, None, 0).data
    }


def test_a_sample_of_many_rows_shows_both_decisions() -> None:
    # Of 90 rows 27 are dropped: a sample of 40 holds all of them, and one of 10 holds 3 kept rows. The seed fixes both.
    rows = toy_decisions(90, True)
    assert charts.sample(rows, 40, seed=0)["drop"].sum() == 27
    assert charts.sample(rows, 10, seed=0)["drop"].sum() == 7 and len(charts.sample(rows, 10, seed=0)) == 10
    assert charts.sample(rows, 40, seed=1).equals(charts.sample(rows, 40, seed=1))
    assert len(charts.sample(rows, 90, seed=0)) == 90
    all_dropped = rows.with_columns(drop=pl.lit(True))
    assert len(charts.sample(all_dropped, 10, seed=0)) == 10


def test_a_source_has_one_colour_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    # It keeps its colour though it is the most frequent source of all rows, and the rarest of those drawn or scored.
    monkeypatch.setattr(charts, "MAP_POINTS", 12)
    kept = [number >= 8 for number in range(40)]
    rows = toy_decisions(40, False).with_columns(
        source=pl.Series(["few"] * 8 + ["many"] * 30 + ["two"] * 2),
        drop=~pl.Series(kept),
        score=pl.when(pl.int_range(40) < 37).then(None).otherwise("score"),
    )
    drawn = {
        trace["name"]: trace["marker"]["color"]
        for trace in charts.forgetting_map(rows, None, 0).data
        if "marker" in trace and "name" in trace
    }
    spread = {
        trace["name"].split(" (")[0]: trace["line"]["color"]
        for trace in charts.distribution(rows, "source", "", None).data
    }
    assert drawn["many"] == spread["many"] == charts.PALETTE[0]
    assert spread.keys() == {"many", "two"} and spread["two"] == charts.PALETTE[2]


def test_more_sources_than_colours_become_one_grey_group() -> None:
    # With 9 sources and 7 colours, 7 sources have their own colour and the other two share grey.
    names = [f"s{number}" for number in range(9) for _ in range(12 - number)]
    rows = toy_decisions(len(names), False).with_columns(source=pl.Series(names))
    figure = charts.distribution(rows, "source", "unit", None)
    shown = [trace["name"].split(" (")[0] for trace in figure.data]
    assert shown == [*(f"s{number}" for number in range(7)), charts.OTHER]
    assert figure.data[-1]["line"]["color"] == charts.GREY


def test_distribution_counts_every_row_once() -> None:
    # The shares of a group sum to 1, outliers included.
    rows = toy_decisions(90, True).with_columns(score=pl.when(pl.col("rank") == 1).then(1e6).otherwise("score"))
    for trace in charts.distribution(rows, "source", "unit", 0.3).data[:3]:
        assert sum(trace["y"]) == pytest.approx(1)
