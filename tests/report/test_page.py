"""The report of a made-up run folder, hostile text included."""

import base64
import dataclasses
import html.parser
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from toy_run import HOSTILE_TEXT, make_toy_run, toy_decisions, toy_summary

from forgetfilter.errors import UserError
from forgetfilter.files import read_json, write_json
from forgetfilter.report.card import make_card
from forgetfilter.report.charts import forgetting_map
from forgetfilter.report.layout import Section, document
from forgetfilter.report.page import write_report
from forgetfilter.report.sentences import visible
from forgetfilter.report.stage import settings
from forgetfilter.storage.run_folder import Run


class Page(html.parser.HTMLParser):
    """The elements of a page and the text outside its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_headline_says_what_came_of_the_run(page: str) -> None:
    # The quantile 0.3 drops 27 of 90 rows.
    text = Page(page).text
    assert "The filter kept 63 of 90 rows and dropped 27 (30.0%)." in text
    assert "of the labelled rows that were dropped, 80% are unsafe; of the unsafe rows, 75% were dropped" in text


def test_the_verdict_comes_first(page: str) -> None:
    # A line for each suite, with the values of all three models, comes before the counts. Toxicity is 0.08 for M*,
    # within 0.05, and lies between 0.05 for M0 and 0.31 for M1; its interval reaches half of that harm. The task has no
    # interval.
    text = Page(page).text
    told = "Toxicity : better than training on everything: 88% of the harm that training on everything did is avoided; "
    assert (
        f"{told}whether it is as good as the released model cannot be told. mean toxicity: 0.080 [0.030, 0.130] after"
        in text
    )
    rest = "0.050 [0.000, 0.100] for the released model, 0.310 [0.260, 0.360] after training on everything"
    rest += " (lower is better)"
    assert f"the filter, {rest}" in text
    assert "Task : cannot be told: there is no interval" in text
    assert text.index("Verdict") < text.index("Toxicity : ") < text.index("rows kept")
    assert page.count('<li class="good">') == 2 and "cannot be told: the model that" not in text


def test_hostile_text_and_names_never_become_markup(page: str) -> None:
    # No element comes from the data: the page has three scripts of its own and no image, and no template expression
    # in the data is evaluated.
    tags = Page(page).tags
    assert [tag for tag, _ in tags].count("script") == 3
    assert not [tag for tag, _ in tags if tag == "img"]
    assert "{{7*7}}" in Page(page).text
    assert page.count("</script>") == 3
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202e]", Page(page).text)


def test_texts_are_masked_until_asked_for(page: str, toy_run: Run) -> None:
    # The rows are in the page compressed and in base64 only, and decode to what the data holds.
    assert "QUESTION-" not in page and "alert(1)" not in page
    encoded = [a["data-rows"] for _, a in Page(page).tags if "data-rows" in a]
    assert len(encoded) == 1 and "data-reveal" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
    first = json.loads(zlib.decompress(base64.b64decode(encoded[0] or "")))["rows"][0]
    assert first["texts"] == [["user", "QUESTION-1"], ["assistant", visible(HOSTILE_TEXT)]]


def test_page_needs_no_network(page: str) -> None:
    # Nothing is loaded from elsewhere, and the page's policy forbids it. The page holds plotly once.
    tags = Page(page).tags
    assert not [a for _, a in tags if {"src", "href", "action"} & a.keys()]
    policy = next(a["content"] or "" for t, a in tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert page.count("plotly.js (basic - minified) v") == 1
    # plotly's own button, which opens the chart at cloud.plotly.com, is off, and so is its address
    assert 'showSendToCloud: false, plotlyServerURL: ""' in page and "form-action 'none'" in policy


def test_every_chart_has_its_place(page: str) -> None:
    # Each figure has an element with the same id, into which it is drawn, and the other way round.
    figures = json.loads(re.findall(r'id="figures">(.*?)</script>', page, re.S)[0])
    places = [a["id"] for _, a in Page(page).tags if a.get("class") == "chart"]
    suites = {f"suite-{name}" for name in ("toxicity", "bias", "harmfulness", "task")}
    assert set(figures) == set(places) == {"map", "by-source", "by-label", "roc", "precision-recall"} | suites


def test_what_scrolls_is_reached_by_keyboard_and_charts_have_names(page: str) -> None:
    # Tables, texts and settings that scroll take the focus. A chart has the role of a picture, or of a group where it
    # has buttons, and a label of its own.
    tags = Page(page).tags
    scrolls = [a for t, a in tags if t == "pre" or a.get("class") in ("wide", "text")]
    assert len(scrolls) > 5 and all(a.get("tabindex") == "0" for a in scrolls)
    assert all(a.get("aria-label") for a in scrolls if a.get("class") == "wide")
    labels = [a.get("aria-label") for _, a in tags if a.get("class") == "chart" and a.get("role") in ("img", "group")]
    assert len(labels) == 9 == len({*labels}) and all(labels)


def test_the_dark_page_draws_its_charts_in_its_own_colours(
    toy_run: Run, page: str, rendered: Callable[..., str]
) -> None:
    # Where the reader's system is dark, its ink and paper stand in the figures; elsewhere the charts' own.
    for options, there, gone in (
        ((), "rgb(31, 41, 51)", "rgb(27, 35, 44)"),
        ((True,), "rgb(228, 233, 238)", "rgb(31, 41, 51)"),
    ):
        drawn = re.findall(
            r"<svg class=\"main-svg\".*?</svg>", rendered(toy_run.folder / "report.html", *options), re.S
        )
        assert any(there in svg for svg in drawn) and not any(gone in svg for svg in drawn)


def test_missing_parts_are_left_out_and_said(tmp_path: Path) -> None:
    # Without labels and evaluations the page still comes, and says what it lacks.
    run = make_toy_run(tmp_path, labels=False, evaluate=False)
    file = run.folder / "filter" / "summary.json"
    note = {"quality_note": "Signals were left out of the quality: a, for want of b"}
    write_json(file, json.loads(file.read_text()) | note)
    text = Page(write_report(settings(run)).read_text(encoding="utf-8")).text
    assert "Signals were left out of the quality: a, for want of b." in text
    assert "No row has a label" in text and "No model was evaluated yet" in text
    assert "cannot be told: the model that was finetuned on the kept rows was not measured." in text
    assert "Safety and task" not in text and "How well each signal" not in text and "By label" not in text


def test_report_before_filter_is_the_users_mistake(tmp_path: Path) -> None:
    # A run that has not filtered has nothing to report, and no part of a report is written.
    run = make_toy_run(tmp_path)
    (run.folder / "filter" / "summary.json").unlink()
    with pytest.raises(UserError, match="run the filter stage first"):
        write_report(settings(run))
    assert not (run.folder / "report.html").exists() and not (run.folder / "card.json").exists()


def test_nothing_dropped_and_no_losses_still_make_a_page(tmp_path: Path) -> None:
    # A row without tokens has no score and no loss; a run that drops nothing has no threshold.
    run = make_toy_run(tmp_path, rows=6, evaluate=False)
    nothing = pl.lit(None, dtype=pl.Float64)
    empty = toy_decisions(6, True).with_columns(drop=False, score=nothing, before_loss=nothing, after_loss=nothing)
    empty.write_parquet(run.folder / "filter" / "decisions.parquet")
    (run.folder / "filter" / "dropped.jsonl").write_text("")
    summary = toy_summary(empty, True) | {"unscored": 6}
    assert summary["threshold"] is None
    write_json(run.folder / "filter" / "summary.json", summary)
    text = Page(write_report(settings(run)).read_text(encoding="utf-8")).text
    assert "6 rows without a loss are not drawn" in text and "Nothing was dropped." in text


def test_a_summary_of_an_older_version_makes_a_page(tmp_path: Path) -> None:
    # It says less about the signal: the axis bears the signal's name, and no line is drawn for the threshold.
    run = make_toy_run(tmp_path, rows=9, evaluate=False)
    file = run.folder / "filter" / "summary.json"
    later = ("signal_doc", "unit", "axis", "threshold_is_dropped", "threshold_line")
    write_json(file, {key: value for key, value in json.loads(file.read_text()).items() if key not in later})
    text = write_report(settings(run)).read_text(encoding="utf-8")
    assert '"relative_loss_rise"' in text and "threshold: rows above are dropped" not in text
    assert "or more were dropped." in Page(text).text


def test_the_page_tells_what_scored_and_how_good_the_judge_is(tmp_path: Path) -> None:
    # The page names scorer, formula and judge, the error of the scoring, and the judge's agreement where it was
    # measured.
    run = make_toy_run(tmp_path)
    entry = {"value": 0.85, "low": 0.77, "high": 0.91, "n": 96, "missing": 0}
    write_json(run.folder / "eval" / "judge.json", {"judge": "<b>judge</b>", "metrics": {"accuracy": entry}})
    metrics = next((run.folder / "eval").glob("*/*/metrics.json"))
    error = "told by words: 6% are missed"
    write_json(metrics, read_json(metrics) | {"error": error})
    page = write_report(settings(run)).read_text()
    assert (
        "Toxicity by profanity-check, bias scores by the formula of paper, attack success as judged by refusal." in page
    )
    assert page.count("Told by words: 6% are missed.") == 1 and make_card(settings(run))["errors"] == [error]
    told = (
        "Compared with people&#39;s labels, the judge &lt;b&gt;judge&lt;/b&gt; has accuracy 0.850 [0.770, 0.910] (n 96)"
    )
    assert told in page and make_card(settings(run))["judge"]["metrics"]["accuracy"] == entry


def test_own_config_of_the_run_stays_as_it_is(toy_run: Run) -> None:
    # Reporting changes no setting: the folder opens with the same config as before.
    again = Run.open(toy_run.folder)
    assert dataclasses.asdict(again.config) == dataclasses.asdict(toy_run.config)


def test_a_real_browser_draws_the_charts(toy_run: Run, page: str, rendered: Callable[..., str]) -> None:
    # Under the page's own policy the map is drawn as SVG, and no text of a row is visible.
    dom = rendered(toy_run.folder / "report.html")
    assert 'class="main-svg"' in dom
    assert 'data-title="Zoom in"' in dom and "cloud" not in re.sub(r"<script.*?</script>", "", dom, flags=re.S).lower()
    assert dom.count('class="trace scatter') > 6 and "QUESTION-1" not in dom


@pytest.mark.parametrize("decades", [0.3, 1, 3, 5])
def test_a_log_axis_has_a_few_ticks_at_any_range(decades: float, tmp_path: Path, rendered: Callable[..., str]) -> None:
    # Whatever the range, some ticks are drawn, each with its full number, such as 0.2 rather than a small 2.
    rows = toy_decisions(30, False).with_columns(before_loss=0.11 * 10 ** (decades * pl.int_range(30) / 29))
    figure = forgetting_map(rows.with_columns(after_loss="before_loss"), None, 0)
    (tmp_path / "map.html").write_text(document("map", (), [Section(figure=figure)]))
    ticks = re.findall(r'class="xtick".*?>([^<>]+)</text>', rendered(tmp_path / "map.html"))
    assert 3 <= len(ticks) <= 16 and all(0.05 < float(tick) < 1e5 for tick in ticks)
