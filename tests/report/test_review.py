"""The rows of a report that a person can look through and judge, in a real browser."""

import csv
import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
import two_logs
from browser import Browser
from toy_run import HOSTILE_TEXT, make_toy_run
from two_logs import write_two_logs

from forgetfilter import cli
from forgetfilter.report import review
from forgetfilter.report.page import write_report
from forgetfilter.report.review import review_rows, told
from forgetfilter.report.sentences import visible
from forgetfilter.report.stage import settings
from forgetfilter.storage.run_folder import Run

READY = "unpacked.then(() => rows.part('found').textContent)"
BOX = "document.querySelector('#review-rows details')"
TEXTS = "[...document.querySelectorAll('#review-rows .text')].map(one => one.textContent)"


def decisions_of(run: Run) -> pl.DataFrame:
    return pl.read_parquet(run.folder / "filter" / "decisions.parquet")


def test_dropped_rows_come_by_score_and_then_the_nearest_kept(toy_run: Run) -> None:
    # The row of rank 1 comes first, with its losses from the decisions; the kept ones go on where the dropped end.
    decisions = decisions_of(toy_run)
    rows = review_rows(toy_run.folder, decisions)
    assert [row["rank"] for row in rows] == list(range(1, 91)) and [row["drop"] for row in rows].count(True) == 27
    assert rows[0]["before_loss"] == decisions.filter(pl.col("rank") == 1)["before_loss"][0]
    assert rows[40]["texts"][0] == ("user", "QUESTION-41") and rows[40]["reason"] == "among the 30% most forgotten"
    said = told(rows, 27)
    assert said == "All 27 dropped rows are here. Beside them stand the 63 kept rows with the highest scores."


def test_what_the_page_cannot_hold_is_said(toy_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # Rows are bounded by their number, and by the characters of their texts.
    decisions = decisions_of(toy_run)
    monkeypatch.setattr(review, "MOST_DROPPED", 9)
    monkeypatch.setattr(review, "MOST_KEPT", 4)
    rows = review_rows(toy_run.folder, decisions)
    assert [row["rank"] for row in rows] == [*range(1, 10), 28, 29, 30, 31]
    assert told(rows, 27).startswith("Of the 27 dropped rows, the 9 with the highest scores are here; ")
    monkeypatch.setattr(review, "MOST_CHARACTERS", 3 * (len(HOSTILE_TEXT) + len("QUESTION-1")))
    assert sum(row["drop"] for row in review_rows(toy_run.folder, decisions)) == 3
    monkeypatch.setattr(review, "MOST_CHARACTERS", 1)  # the first row is there however long it is, kept or dropped
    assert [row["drop"] for row in review_rows(toy_run.folder, decisions)] == [True, False]


def test_probes_and_changed_data_give_no_kept_row(tmp_path: Path) -> None:
    # A probe is nobody's to review. A kept row whose line is another one by now is left out.
    run = make_toy_run(tmp_path, rows=12, evaluate=False)
    decisions = decisions_of(run).with_columns(probe=pl.col("rank") == 6)
    assert 6 not in [row["rank"] for row in review_rows(run.folder, decisions)]
    lines = run.noisy_data.read_text().splitlines(keepends=True)
    run.noisy_data.write_text("".join(lines[1:] + lines[:1]))
    assert [row["drop"] for row in review_rows(run.folder, decisions)] == [True] * 4


def test_the_rows_are_masked_searched_and_sorted(toy_run: Run, page: str, browser: Browser) -> None:
    # 50 of 90 rows stand there, and the next page has the rest. No text is shown before Show, and hostile text is text
    # alone. A search goes through the masked texts.
    browser.open(toy_run.folder / "report.html")
    assert browser.run(READY) == "1 to 50 of 90 rows" and set(browser.run(TEXTS)) == {"masked"}
    browser.run("document.querySelector('#review-rows .show').click()")
    assert browser.run(TEXTS)[:2] == [f"userQUESTION-1assistant{visible(HOSTILE_TEXT)}", "masked"]
    browser.run("rows.part('on').click()")
    assert browser.run("rows.part('found').textContent") == "51 to 90 of 90 rows" and browser.run(
        "rows.part('on').disabled"
    )
    browser.run("rows.part('search').value = 'question-71'; choose()")
    assert browser.run("rows.part('found').textContent") == "1 to 1 of 1 rows"
    browser.run(
        "rows.part('search').value = ''; rows.part('which').value = 'kept'; rows.part('order').value = 'score 1'"
    )
    assert browser.run("choose(); rows.part('found').textContent") == "1 to 50 of 63 rows"
    wanted = decisions_of(toy_run).sort("rank", descending=True)["id"][0][:12]
    assert browser.run("document.querySelector('#review-rows code').textContent") == wanted
    browser.run("rows.part('order').value = 'rise -1'; choose(); rows.part('all').click()")
    assert "masked" not in browser.run(TEXTS) and browser.run("document.querySelectorAll('img').length") == 0
    assert not browser.errors and len(browser.requests) == 1


def test_a_click_on_the_map_shows_its_row(toy_run: Run, page: str, browser: Browser) -> None:
    # The row is found by the digits that the point carries; for one that is not in the page the command is named.
    browser.open(toy_run.folder / "report.html")
    wanted = decisions_of(toy_run).filter(pl.col("rank") == 5)["id"][0][:12]
    fired = (
        "document.getElementById('map').emit('plotly_click', {points: [{customdata: [1, 'ID']}]}); unpacked.then(() => "
    )
    shown = "[...document.querySelectorAll('#review-rows code')].map(one => one.textContent))"
    assert wanted in browser.run(fired.replace("ID", wanted) + shown)
    assert "--why ffff" in browser.run(fired.replace("ID", "ffff") + "rows.part('found').textContent)")


def test_a_row_without_a_score_that_a_person_dropped_shows_dashes(tmp_path: Path, browser: Browser) -> None:
    # It stands last. A row whose rule computes p-values shows its p-value.
    run = make_toy_run(tmp_path, rows=6, evaluate=False)
    path = run.folder / "filter" / "dropped.jsonl"
    first, last = (json.loads(line) for line in path.read_text().splitlines())
    first |= {"p_value": 0.0123}
    last |= {"score": None, "rank": None, "reason": "dropped by review"}
    path.write_text(json.dumps(first) + "\n" + json.dumps(last) + "\n")
    browser.open(write_report(settings(run)))
    browser.run(READY)
    rows = browser.run("[...document.querySelectorAll('#review-rows .row')].map(one => one.textContent)")
    assert "p 0.012" in rows[0] and "score –" in rows[-1] and "dropped by review" in rows[-1]


def test_reveal_shows_the_texts(tmp_path: Path, browser: Browser) -> None:
    # With `reveal` the texts stand there without a click, and hostile ones are only text.
    browser.open(write_report(settings(make_toy_run(tmp_path, rows=9)), reveal=True))
    browser.run(READY)
    assert f"userQUESTION-1assistant{visible(HOSTILE_TEXT)}" in browser.run(TEXTS) and not browser.errors


def test_answers_given_in_the_page_are_followed(
    tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From the page to a saved review.csv, and from that to another decision of the real filter: one dropped row is
    # kept, one kept row dropped. An answer that was there before stays in the file.
    names = write_two_logs(tmp_path)
    monkeypatch.chdir(tmp_path)
    logs = "--from before after --data noisy.jsonl --safe safe.jsonl name=r tracking.mode=disabled"
    decide = "filter.signal=loss_rise filter.rule=top_k filter.top_k=3"
    ran(f"filter {logs} {decide}")
    run = tmp_path / "runs" / "r"
    (run / "review.csv").write_text(f"keep,id\nno,{names[0]}\n")
    ran(f"filter runs/r {decide}")
    ran("report runs/r")
    browser.open(run / "report.html")
    assert browser.run(READY) == "1 to 12 of 12 rows"
    say = "rows.part('search').value = 'ID'; choose(); document.querySelectorAll('#review-rows .say')[WHICH].click()"
    browser.run(say.replace("ID", names[11]).replace("WHICH", "0"))
    browser.run(say.replace("ID", names[2]).replace("WHICH", "1"))
    assert browser.run("rows.part('save').textContent") == "Save review.csv (3 answers)"
    browser.run("rows.part('save').click()")
    shutil.copy(browser.downloaded("review.csv"), run / "review.csv")
    told = {row["id"]: row["keep"] for row in csv.DictReader((run / "review.csv").open())}
    assert told == {names[0]: "no", names[2]: "no", names[11]: "yes"}
    ran(f"filter runs/r {decide}")
    dropped = {json.loads(line)["id"] for line in (run / "filter" / "dropped.jsonl").open()}
    assert dropped == {names[number] for number in (0, 2, 9, 10)}
    assert re.search("By hand a person kept 1 rows? and dropped 2", (run / "report.html").read_text())


def test_what_resembles_a_row_is_what_why_names(
    tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Each row of the page names the same rows, shares and decisions as --why where the page has all rows. Their texts
    # are masked, and an answer that is given there is the answer of the row itself.
    said = ["", "Größe äußern", "größe", "naïve café", "CAFÉ naïve größe", "x_y 12", "12 x_y 3", "日本 語", "日本"]
    said += ["a b c d", "a c", "d"]
    rows = [{"prompt": f"{text} a", "completion": f"b{number % 3}"} for number, text in enumerate(said)]
    monkeypatch.setattr(two_logs, "ROWS", rows)
    names = write_two_logs(tmp_path)
    monkeypatch.chdir(tmp_path)
    logs = "--from before after --data noisy.jsonl --safe safe.jsonl name=r tracking.mode=disabled"
    ran(f"filter {logs} filter.signal=loss_rise filter.rule=top_k filter.top_k=3")
    ran("report runs/r")
    browser.open(tmp_path / "runs" / "r" / "report.html")
    browser.run(READY)
    near_of = "nearest(row).map(one => [one.other.id, one.share, one.other.drop])"
    told = browser.run(f"Object.fromEntries(reviewed.map(row => [row.id, {near_of}]))")
    for name in names:
        capsys.readouterr()
        ran(f"filter runs/r --why {name} --json")
        near = json.loads(capsys.readouterr().out)["neighbours"]
        assert told[name] == [[row["id"], pytest.approx(row["similarity"]), row["drop"]] for row in near] and near
    browser.run(f"rows.part('search').value = '{names[4]}'; choose(); {BOX}.querySelector('summary').click()")
    browser.until(f"{BOX}.querySelector('.near .row')")
    browser.run(f"{BOX}.querySelector('.near .say').click()")
    near = browser.run(f"[...{BOX}.querySelectorAll('.near code')].map(one => one.textContent)")
    assert near == [other[:12] for other, *_ in told[names[4]]]
    assert browser.run(f"[...{BOX}.querySelectorAll('.near .text')].map(one => one.textContent)") == ["masked"] * 5
    assert browser.run("[...answers]") == [[told[names[4]][0][0], "yes"]]
    browser.run("rows.part('search').value = ''; choose()")
    pressed = "[...document.querySelectorAll('.say')].filter(one => one.getAttribute('aria-pressed') === 'true').length"
    assert browser.run(pressed) == 1 and not browser.errors
    browser.run("unsaved = false")


def ran(words: str) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(words.split())
    assert not end.value.code


def test_a_browser_that_cannot_unpack_says_so(toy_run: Run, page: str, browser: Browser, tmp_path: Path) -> None:
    # An older browser has no DecompressionStream; the reader is told, and sees no empty list without a word.
    (tmp_path / "old.html").write_text(page.replace("DecompressionStream", "NoSuchStream"))
    browser.open(tmp_path / "old.html")
    said = browser.run("rows.unpacked.catch(() => rows.part('found').textContent)")
    assert said.startswith("This browser cannot unpack the texts")
