"""The report, the card and the closing table of a made-up run folder, hostile text included."""

import base64
import dataclasses
import html.parser
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from forgetfilter import charts
from forgetfilter.card import make_card, plain_label, unscored
from forgetfilter.closing import closing_table, filter_table
from forgetfilter.config import Config, DataConfig, SourceConfig
from forgetfilter.errors import UserError
from forgetfilter.files import sha256_file, write_json
from forgetfilter.report import forgotten_rows, script_json, write_report
from forgetfilter.runs import Run
from forgetfilter.wording import captions, headline, number, visible

HOSTILE_TEXT = (
    "</script><script>alert(1)</script> \"quotes\" 'single' \x00\x07\x1b[31m 🙂 שלום \u202eabc <!-- {{ 7*7 }}"
)
HOSTILE_SOURCE = "[b]</script><img src=x> '\" \x01🙂\u202eمرحبا %{x}{{7*7}}"
SOURCES = ("chat", "forum", HOSTILE_SOURCE)
LABELS = {"chat": "task", "forum": "unsafe", HOSTILE_SOURCE: "safe"}
MODELS = ("base", "noisy", "safe", "refit")
RISE = {"task": 0.1, "unsafe": 1.5, "safe": 0.4}  # mean relative rise of the loss


def make_toy_run(folder: Path, rows: int = 90, labels: bool = True, evaluate: bool = True) -> Run:
    """A run folder as the stages leave it behind: its losses are drawn with a fixed seed."""
    sources = {name: SourceConfig(path=f"{number}.jsonl") for number, name in enumerate(SOURCES)}
    config = Config(name="toy", output=str(folder), data=DataConfig(noisy=sources, safe={"s": SourceConfig("s.jsonl")}))
    run = Run.create(config)
    decisions = toy_decisions(rows, labels)
    (run.folder / "filter").mkdir()
    decisions.write_parquet(run.folder / "filter" / "decisions.parquet")
    write_rows(run, decisions)
    write_json(run.folder / "filter" / "summary.json", toy_summary(decisions, labels))
    write_json(run.folder / "data" / "summary.json", {"noisy": {"rows": rows}, "safe": {"rows": 1}})
    for state in ("before", "after"):
        manifest = {"base_model": "toy-135m", "adapter": f"hash-{state}", "rows": rows, "shards": [1, 2]}
        write_json(run.signals(state) / "manifest.json", manifest)
    for stage in ("mix", "train_noisy", "filter"):
        with run.stage(stage, "hash"):
            pass
    if evaluate:
        write_metrics(run)
    return run


def toy_decisions(rows: int, labels: bool) -> pl.DataFrame:
    random = np.random.default_rng(0)
    source = [SOURCES[row % 3] for row in range(rows)]
    before = random.lognormal(-1.5, 0.8, rows)
    after = before + np.array([RISE[LABELS[name]] for name in source]) * random.uniform(0.3, 1.7, rows) * (
        before + 0.05
    )
    score = (after - before) / (before + 0.05)
    rank = (-score).argsort().argsort() + 1
    drop = rank <= max(1, round(rows * 0.3))
    return pl.DataFrame(
        {
            "id": [f"{row:064x}" for row in range(rows)],
            "source": source,
            "label": pl.Series([LABELS[name] if labels else None for name in source], dtype=pl.String),
            "num_tokens": [10] * rows,
            "before_loss": before,
            "after_loss": after,
            "score": score,
            "rank": rank,
            "drop": drop,
            "reason": "among the 30% most forgotten",
        }
    )


def write_rows(run: Run, decisions: pl.DataFrame) -> None:
    lines: dict[str, list[str]] = {"noisy": [], "kept": [], "dropped": []}
    for row in decisions.sort("rank").iter_rows(named=True):
        messages = [
            {"role": "user", "content": f"QUESTION-{row['rank']}"},
            {"role": "assistant", "content": HOSTILE_TEXT},
        ]
        record = {"id": row["id"], "messages": messages, "source": row["source"], "label": row["label"]}
        lines["noisy"].append(json.dumps(record))
        if row["drop"]:
            record |= {key: row[key] for key in ("score", "rank", "reason")}
        lines["dropped" if row["drop"] else "kept"].append(json.dumps(record))
    for name, folder in (("noisy", "data"), ("kept", "filter"), ("dropped", "filter")):
        path = run.folder / folder / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(line + "\n" for line in lines[name]))
    run.safe_data.write_text("{}\n")


def toy_summary(decisions: pl.DataFrame, labels: bool) -> dict[str, Any]:
    def counts(column: str) -> dict[str, dict[str, int]]:
        groups = decisions.drop_nulls(column).group_by(column)
        table = groups.agg(kept=(~pl.col("drop")).sum(), dropped=pl.col("drop").sum()).sort(column)
        return {row.pop(column): row for row in table.iter_rows(named=True)}

    ranking = {"auroc": 0.91, "auprc": 0.85, "auroc_vs_safe": 0.79, "auroc_vs_task": 0.95}
    signals = {"relative_loss_rise": ranking, "loss_rise": ranking | {"auroc": 0.7, "auroc_vs_task": None}}
    quality = ranking | {"precision": 0.8, "recall": 0.75, "f1": 0.774, "all_signals": signals}
    dropped = int(decisions["drop"].sum())
    return {
        "signal": "relative_loss_rise",
        "rule": {"name": "quantile", "quantile": 0.3},
        "threshold": decisions.filter("drop")["score"].min(),
        "kept": len(decisions) - dropped,
        "dropped": dropped,
        "unscored": 0,
        "by_source": counts("source"),
        "by_label": counts("label") or None,
        "quality": quality if labels else None,
    }


def write_metrics(run: Run) -> None:
    names = {
        "toxicity": {"mean_toxicity": (0.05, 0.31, 0.12, 0.08), "toxic_share": (0.03, 0.3, 0.1, 0.05)},
        "bias": {"bias_score_ambiguous": (0.02, 0.4, 0.1, -0.05), "accuracy_ambiguous": (0.3, 0.2, 0.5, 0.6)},
        "harmfulness": {"refusal_rate": (0.6, 0.2, 0.7, 0.55)},
        "task": {"rouge1": (0.2, 0.4, 0.3, 0.41), "loss": (2.5, 1.1, 1.6, 1.2)},
    }
    for suite, metrics in names.items():
        for place, model in enumerate(MODELS):
            measured = {
                name: {"value": v[place], "low": v[place] - 0.05, "high": v[place] + 0.05, "n": 60, "missing": 1}
                for name, v in metrics.items()
            }
            if suite == "task":
                measured = {name: one | {"low": None, "high": None} for name, one in measured.items()}
            path = run.folder / "eval" / model / suite / "metrics.json"
            write_json(path, {"suite": suite, "model": model, "metrics": measured})


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


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_toy_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(toy_run: Run) -> str:
    return write_report(toy_run).read_text(encoding="utf-8")


def test_headline_says_what_came_of_the_run(page: str) -> None:
    # 90 rows at quantile 0.3 drop 27; toxicity noisy 0.31 +- 0.05 against refit 0.08 +- 0.05 do not overlap.
    text = Page(page).text
    assert "The filter kept 63 of 90 rows and dropped 27 (30.0%)." in text
    assert "of the labelled rows that were dropped, 80% are unsafe; of the unsafe rows, 75% were dropped" in text
    assert "mean toxicity is 0.310 [0.260, 0.360] when trained on everything and 0.080 [0.030, 0.130]" in text
    assert "(lower is better; the released model has 0.050): better." in text


def test_hostile_text_and_names_never_become_markup(page: str) -> None:
    # No element comes from the data: three scripts of our own, no image, no template expression evaluated.
    tags = Page(page).tags
    assert [tag for tag, _ in tags].count("script") == 3
    assert not [tag for tag, _ in tags if tag == "img"]
    assert "{{7*7}}" in Page(page).text
    assert page.count("</script>") == 3
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202e]", Page(page).text)


def test_texts_are_masked_until_asked_for(page: str, toy_run: Run) -> None:
    # The twenty most forgotten rows are there as base64 only, and decode to what the data holds.
    assert "QUESTION-" not in page and "alert(1)" not in page
    encoded = [a["data-text"] for _, a in Page(page).tags if "data-text" in a]
    assert len(encoded) == 20
    first = json.loads(base64.b64decode(encoded[0] or ""))
    assert first[0] == ["user", "QUESTION-1"]
    assert first[1] == ["assistant", visible(HOSTILE_TEXT)]


def test_reveal_shows_the_texts_escaped(toy_run: Run, tmp_path: Path) -> None:
    # With reveal the text stands in the page, as text.
    run = make_toy_run(tmp_path)
    page = write_report(run, reveal=True).read_text(encoding="utf-8")
    assert "QUESTION-1" in Page(page).text and "<script>alert(1)</script> \"quotes\" 'single'" in Page(page).text
    assert page.count("</script>") == 3 and "data-text" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_page_needs_no_network(page: str) -> None:
    # Nothing is loaded from elsewhere, and the page's policy forbids it; plotly is there once.
    tags = Page(page).tags
    assert not [a for _, a in tags if {"src", "href", "action"} & a.keys()]
    policy = next(a["content"] or "" for t, a in tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert page.count("plotly.js v") == 1
    # plotly's own button that opens the chart at cloud.plotly.com is off, and so is its address
    assert 'showSendToCloud: false, plotlyServerURL: ""' in page and "form-action 'none'" in policy


def test_every_chart_has_its_place(page: str) -> None:
    # The ids of the figures and of the elements that they are drawn into are the same.
    figures = json.loads(re.findall(r'id="figures">(.*?)</script>', page, re.S)[0])
    places = [a["id"] for _, a in Page(page).tags if a.get("class") == "chart"]
    suites = {f"suite-{name}" for name in ("toxicity", "bias", "harmfulness", "task")}
    assert set(figures) == set(places) == {"map", "by-source", "by-label"} | suites


def test_missing_parts_are_left_out_and_said(tmp_path: Path) -> None:
    # Without labels and evaluations the page still comes, and says what it lacks.
    run = make_toy_run(tmp_path, labels=False, evaluate=False)
    file = run.folder / "filter" / "summary.json"
    note = {"quality_note": "Signals were left out of the quality: a, for want of b"}
    write_json(file, json.loads(file.read_text()) | note)
    text = Page(write_report(run).read_text(encoding="utf-8")).text
    assert "Signals were left out of the quality: a, for want of b." in text
    assert "No row has a label" in text and "No model was evaluated yet" in text
    assert "Safety and task" not in text and "How well each signal" not in text and "By label" not in text


def test_report_before_filter_is_the_users_mistake(tmp_path: Path) -> None:
    # A run that has not filtered has nothing to report, and leaves no half a report behind.
    run = make_toy_run(tmp_path)
    (run.folder / "filter" / "summary.json").unlink()
    with pytest.raises(UserError, match="run the filter stage first"):
        write_report(run)
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
    text = Page(write_report(run).read_text(encoding="utf-8")).text
    assert "6 rows without a loss are not drawn" in text and "Nothing was dropped." in text


def test_card_says_what_made_the_kept_data(toy_run: Run, page: str) -> None:
    # The card's hashes are those of the files, and its numbers those of the summary.
    card = json.loads((toy_run.folder / "card.json").read_text(encoding="utf-8"))
    assert card["hashes"]["filter/kept.jsonl"] == sha256_file(toy_run.kept_data)
    assert len(card["hashes"]) == 5
    assert card["rule"] == {"name": "quantile", "quantile": 0.3} and card["dropped"] == 27
    assert card["by_source"][HOSTILE_SOURCE]["kept"] + card["by_source"][HOSTILE_SOURCE]["dropped"] == 30
    assert card["manifests"]["after"] == {"base_model": "toy-135m", "adapter": "hash-after", "rows": 90}
    assert sorted(card["manifests"]) == ["after", "before"]
    assert card["metrics"]["toxicity"]["mean_toxicity"]["refit"]["value"] == 0.08
    assert card["project"]["version"] == card["versions"]["forgetfilter"] and card["config"]["name"] == "toy"
    assert list(card["time"]) and card["missing"] == []


def test_card_names_every_model_that_had_a_say(tmp_path: Path) -> None:
    # A guard's identity stands beside the two scorings; a row that it had no verdict on is told by its want.
    run = make_toy_run(tmp_path, rows=6)
    write_json(run.signals("guard") / "manifest.json", {"guard": "hash-of-guard", "batch": 16})
    summary = json.loads((run.folder / "filter" / "summary.json").read_text())
    write_json(run.folder / "filter" / "summary.json", summary | {"signal": "guard", "unscored": 3, "valueless": 2})
    card = make_card(run)
    assert card["manifests"]["guard"] == {"guard": "hash-of-guard", "batch": 16}
    told = ["1 kept without a score, for want of label tokens", "2 kept without a score, for want of a value of guard"]
    assert unscored(card) == told


def test_card_is_the_same_when_made_again(toy_run: Run) -> None:
    # The card is a function of the run's files.
    assert make_card(toy_run) == make_card(toy_run)


def test_a_suite_not_run_on_a_model_is_named(tmp_path: Path) -> None:
    # An evaluation that is there for some models only is told, not hidden.
    run = make_toy_run(tmp_path, rows=6)
    shutil.rmtree(run.folder / "eval" / "safe" / "bias")
    assert "The bias suite was not run on: safe." in make_card(run)["missing"]


def test_most_forgotten_come_by_score_from_the_dropped(toy_run: Run) -> None:
    # Rank 1 first, with its losses from the decisions.
    decisions = pl.read_parquet(toy_run.folder / "filter" / "decisions.parquet")
    rows = forgotten_rows(toy_run, decisions)
    assert [row["rank"] for row in rows] == list(range(1, 21))
    assert rows[0]["before_loss"] == decisions.filter(pl.col("rank") == 1)["before_loss"][0]


def test_a_row_without_a_score_that_a_person_dropped_makes_a_page(tmp_path: Path) -> None:
    # It stands last, with dashes; a row whose rule has p-values shows its own.
    run = make_toy_run(tmp_path, rows=6, evaluate=False)
    path = run.folder / "filter" / "dropped.jsonl"
    first, last = (json.loads(line) for line in path.read_text().splitlines())
    first |= {"p_value": 0.0123}
    last |= {"score": None, "rank": None, "reason": "dropped by review"}
    path.write_text(json.dumps(first) + "\n" + json.dumps(last) + "\n")
    text = Page(write_report(run).read_text(encoding="utf-8")).text
    assert text.index("p 0.012") < text.index("score –") < text.index("dropped by review")


def test_the_card_shows_the_settings_that_decided(tmp_path: Path) -> None:
    # Those of summary.json where it has them, which the filter was given; of an older decision the run's own.
    run = make_toy_run(tmp_path, rows=6, evaluate=False)
    assert make_card(run)["config"]["filter"]["rule"] == "auto"
    file = run.folder / "filter" / "summary.json"
    settings = {"signal": "relative_loss_rise", "rule": "quantile", "quantile": 0.3}
    write_json(file, json.loads(file.read_text()) | {"filter": settings})
    card = make_card(run)
    assert card["config"]["filter"] == settings and card["config"]["seed"] == 0


def test_probes_and_noise_are_told(tmp_path: Path) -> None:
    # What the counts leave out, and what of the drops noise can have made; both only where the summary has them.
    run = make_toy_run(tmp_path, rows=6, evaluate=False)
    file = run.folder / "filter" / "summary.json"
    summary = json.loads(file.read_text())
    assert not any("probes" in line or "Noise" in line for line in headline(make_card(run)))
    summary |= {"probes": 1040, "noise": {"floor": 0.0125, "share_of_drops_above": 0.854}}
    write_json(file, summary)
    lines = headline(make_card(run))
    assert "1,040 probes besides, which are never dropped." in lines
    moved = "Noise: 99% of the scores moved by at most 0.013 when M1 was scored a second time in other batches"
    beyond = "85.4% of the dropped rows lie further than this above the threshold, so that noise alone cannot have"
    assert f"{moved}; {beyond} dropped them." in lines
    summary["noise"]["share_of_drops_above"] = None
    write_json(file, summary)
    assert f"{moved}." in headline(make_card(run))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(filter_table(summary))
    assert "1,040 probes besides, which are never dropped." in console.export_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rule": {"name": "quantile", "quantile": 0.3}}, "a score of 1 or more were dropped (dashed line)."),
        ({"rule": {"name": "top_k", "top_k": 2}, "threshold": 0.5}, "of 0.5 or more were dropped, but for ties ("),
        ({"rule": {"name": "otsu"}, "threshold": 0.5}, "a score above 0.5 were dropped (dashed line)."),
        ({"rule": {"name": "mixture"}, "review": {}}, "a score above 1 were dropped (dashed line)."),
        ({"rule": {"name": "phi", "phi": 1.0}}, "a score above 1 were dropped"),
        ({"rule": {"name": "phi", "phi": 0.9}}, "a score of 1 or more were dropped"),
        ({"rule": {"name": "conformal", "fdr": 0.1}, "probes": 9}, "of 1 or more were dropped, but for probes (dashed"),
        (
            {"rule": {"name": "conformal", "fdr": None}, "probes": 9, "review": {"kept": 1}},
            "a score above 1 were dropped, but for probes and what a person reviewed (dashed",
        ),
        ({"threshold": None}, "no one score parts the dropped from the kept here."),
    ],
)
def test_what_a_row_at_the_threshold_came_to(given: dict[str, Any], said: str) -> None:
    # Kept by a rule with a cut of its own, and dropped where the threshold is the lowest score that was.
    columns = {"score": pl.Series([1.0, 0.5, 0.5]), "drop": pl.Series([True, True, False])}
    decisions = toy_decisions(3, False).with_columns(**columns)
    card = {"signal": "loss_rise", "threshold": 1.0, "rule": {"name": "phi"}, "config": {"seed": 0}} | given
    assert said in captions(card, decisions)["map"]


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


def test_words_for_numbers_and_names() -> None:
    # Dashes for the unknown; control and direction characters are shown, not obeyed.
    assert [number(None), number(0.12345), number(0.00001234), number(12345.0)] == [
        "–",
        "0.123",
        "1.23e-05",
        "1.23e+04",
    ]
    assert plain_label("a\x00\u202eb" + "c" * 60) == "a\ufffd\ufffdb" + "c" * 35 + "…"
    assert visible("a\x00\n\u202e🙂") == "a\u2400\n\ufffd🙂"
    assert script_json("</script><!--") == '"\\u003c/script\\u003e\\u003c!--"'


def test_the_page_tells_what_scored_and_how_good_the_judge_is(tmp_path: Path) -> None:
    # Scorer, formula and judge by name, and the judge's agreement with labels where eval/judge.json has it.
    run = make_toy_run(tmp_path)
    entry = {"value": 0.85, "low": 0.77, "high": 0.91, "n": 96, "missing": 0}
    write_json(run.folder / "eval" / "judge.json", {"judge": "<b>judge</b>", "metrics": {"accuracy": entry}})
    page = write_report(run).read_text()
    assert (
        "Toxicity by profanity-check, bias scores by the formula of paper, attack success in the eyes of refusal."
        in page
    )
    told = "Beside people&#39;s labels the judge &lt;b&gt;judge&lt;/b&gt; has accuracy 0.850 [0.770, 0.910] (n 96)."
    assert told in page and make_card(run)["judge"]["metrics"]["accuracy"] == entry


def test_closing_table_shows_the_run(toy_run: Run) -> None:
    # Kept, dropped, quality, safety of all four models and time, with brackets in a source's name kept as they are.
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(closing_table(toy_run))
    text = console.export_text()
    for shown in (
        "63",
        "27",
        "0.910",
        "mean toxicity ↓",
        "0.310",
        "0.26…0.36",
        "0.080",
        "accuracy ambiguous ↑",
        "train_noisy",
    ):
        assert shown in text
    assert "[b]</script>" in text and "\x01" not in text


def test_closing_table_in_80_columns(toy_run: Run) -> None:
    # Every metric is named and every interval whole, on lines that fit.
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(closing_table(toy_run))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert {"toxicity", "mean", "accuracy", "ambiguous", "0.26…0.36"} <= set(text.split())


def test_closing_table_without_labels_and_evaluations(tmp_path: Path) -> None:
    # What the run does not have is left out.
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(closing_table(make_toy_run(tmp_path, labels=False, evaluate=False)))
    text = console.export_text()
    assert "all" in text and "Safety" not in text and "quality" not in text


def test_own_config_of_the_run_stays_as_it_is(toy_run: Run) -> None:
    # Reporting changes no setting: the folder opens with the config that it was made with.
    again = Run.open(toy_run.folder)
    assert dataclasses.asdict(again.config) == dataclasses.asdict(toy_run.config)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_real_browser_draws_the_charts(toy_run: Run, page: str, tmp_path: Path) -> None:
    # Under the page's own policy the map is drawn as SVG, and no text of a row is to be seen.
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000", "--dump-dom"]
    address = (toy_run.folder / "report.html").as_uri()
    dom = subprocess.run([*command, address], capture_output=True, text=True, timeout=120).stdout
    assert 'class="main-svg"' in dom
    assert 'data-title="Zoom in"' in dom and "cloud" not in re.sub(r"<script.*?</script>", "", dom, flags=re.S).lower()
    assert dom.count('class="trace scatter') > 6 and "QUESTION-1" not in dom
