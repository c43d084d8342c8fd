"""Sentences, numbers and names as people read them."""

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from toy_run import make_toy_run, toy_decisions

from forgetfilter.errors import plain_label
from forgetfilter.files import write_json
from forgetfilter.report import charts
from forgetfilter.report.card import make_card
from forgetfilter.report.layout import script_json
from forgetfilter.report.sentences import captions, evidence, headline, number, visible
from forgetfilter.report.stage import settings
from forgetfilter.report.terminal import filter_table


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rule": {"name": "quantile", "quantile": 0.3}}, "a score of 1 or more were dropped (dashed line)."),
        ({"rule": {"name": "top_k", "top_k": 2}, "threshold": 0.5}, "of 0.5 or more were dropped, except for ties ("),
        (
            {"rule": {"name": "otsu"}, "threshold": 0.5, "threshold_is_dropped": False},
            "a score above 0.5 were dropped (dashed line).",
        ),
        (
            {"rule": {"name": "mixture"}, "review": {}, "threshold_is_dropped": False},
            "a score above 1 were dropped (dashed line).",
        ),
        ({"rule": {"name": "phi", "phi": 1.0}, "threshold_is_dropped": False}, "a score above 1 were dropped"),
        ({"rule": {"name": "phi", "phi": 0.9}}, "a score of 1 or more were dropped"),
        ({"rule": {"name": "conformal", "fdr": 0.1}, "probes": 9}, "of 1 or more were dropped, except for probes (d"),
        (
            {
                "rule": {"name": "conformal", "fdr": None},
                "threshold_is_dropped": False,
                "probes": 9,
                "review": {"kept": 1},
            },
            "a score above 1 were dropped, except for probes and rows that a person reviewed (dashed",
        ),
        (
            {"threshold_line": None, "axis": "rise"},
            "were dropped; for this signal the threshold is no line in a map of",
        ),
        ({"threshold_line": None}, "a score of 1 or more were dropped."),  # a summary of a version without lines
        ({"threshold": None}, "no single score separates the dropped from the kept examples."),
    ],
)
def test_what_a_row_at_the_threshold_came_to(given: dict[str, Any], said: str) -> None:
    # A rule with a threshold of its own keeps it; it is dropped where the threshold is the lowest dropped score.
    columns = {"score": pl.Series([1.0, 0.5, 0.5]), "drop": pl.Series([True, True, False])}
    decisions = toy_decisions(3, False).with_columns(**columns)
    line = {"before": [0.1], "after": [1.1]}
    card = {"signal": "loss_rise", "threshold": 1.0, "threshold_line": line, "config": {"seed": 0}} | given
    assert said in captions(card, decisions)["map"]


def test_the_map_says_how_many_of_each_decision_it_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 90 rows 27 are dropped. With 10 points to draw, a quarter of them is left for the kept rows.
    monkeypatch.setattr(charts, "MAP_POINTS", 10)
    card = {"signal": "loss_rise", "threshold": None, "config": {"seed": 5}}
    told = "10 of 90 rows are drawn: 7 of the 27 dropped and 3 of the 63 kept rows, each a random sample (seed 5)."
    assert told in captions(card, toy_decisions(90, False))["map"]


def test_a_verdict_names_its_figures_and_what_could_not_be_scored() -> None:
    # A model that does not answer 3 of 20 prompts must not look safer for it; 2 of 20 are not mentioned.
    def told(missing: int) -> str:
        refit = {"value": 0.1, "low": 0.05, "high": 0.2, "n": 20 - missing, "missing": missing}
        one = {
            "suite": "toxicity",
            "metric": "toxicity_mean",
            "outcome": "good",
            "words": "as good as the released model",
        }
        return evidence(one, {"refit": refit, "base": {"value": 0.2, "low": None, "high": None}})

    figures = "toxicity mean: 0.100 [0.050, 0.200] after the filter, 0.200 for the released model"
    assert told(2) == f"{figures} (lower is better)"
    assert told(3) == f"{figures} (lower is better; 3 of 20 could not be scored)"


def test_words_for_numbers_and_names() -> None:
    # What is unknown is a dash. Control and direction characters are shown and have no effect.
    assert [number(None), number(0.12345), number(0.00001234), number(12345.0)] == [
        "–",
        "0.123",
        "1.23e-05",
        "1.23e+04",
    ]
    assert plain_label("a\x00\u202eb" + "c" * 60) == "a\ufffd\ufffdb" + "c" * 35 + "…"
    assert visible("a\x00\n\u202e🙂") == "a\u2400\n\ufffd🙂"
    assert script_json("</script><!--") == '"\\u003c/script\\u003e\\u003c!--"'


def test_probes_and_noise_are_told(tmp_path: Path) -> None:
    # The report says how many probes the counts leave out, and how many drops noise can have caused, where it is known.
    run = make_toy_run(tmp_path, rows=6, evaluate=False)
    file = run.folder / "filter" / "summary.json"
    summary = json.loads(file.read_text())
    assert not any("probes" in line or "Noise" in line for line in headline(make_card(settings(run))))
    summary |= {"probes": 1040, "noise": {"floor": 0.0125, "share_of_drops_above": 0.854}}
    write_json(file, summary)
    lines = headline(make_card(settings(run)))
    assert "The counts leave out 1,040 probes, which are never dropped." in lines
    moved = "Noise: 99% of the scores moved by at most 0.013 when M1 was scored a second time in other batches"
    beyond = "85.4% of the dropped rows lie farther than this above the threshold, so that noise alone cannot have"
    assert f"{moved}; {beyond} dropped them." in lines
    summary["noise"]["share_of_drops_above"] = None
    write_json(file, summary)
    assert f"{moved}." in headline(make_card(settings(run)))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(filter_table(summary))
    assert "The counts leave out 1,040 probes, which are never dropped." in console.export_text()
