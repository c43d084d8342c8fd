"""The evaluation's answers side by side in the report."""

from pathlib import Path

import polars as pl
import pytest
from browser import Browser
from toy_run import HOSTILE_TEXT, make_toy_run, with_answers

from forgetfilter.report import answers
from forgetfilter.report.answers import counted, side_by_side
from forgetfilter.report.page import write_report
from forgetfilter.report.sentences import visible
from forgetfilter.report.stage import settings
from forgetfilter.storage.results import MODELS


def test_what_flipped_comes_first_with_the_first_sample_of_each_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # harmful falls and refused turns from M1 to M*; a loss never flips, and what is not known does not either.
    run = with_answers(make_toy_run(tmp_path, rows=9))
    found = side_by_side(run.folder, stale_refit=False)
    assert [(one["id"], one["flips"]) for one in found] == [
        ("c", ["harmful fell", "refused no to yes"]),
        ("a", []),
        ("b", []),
    ]
    assert [one["model"] for one in found[0]["answers"]] == list(MODELS)
    assert found[0]["answers"][1]["text"] == f"noisy c 4 {visible(HOSTILE_TEXT)}"
    assert found[2]["answers"][0]["scores"] == {"refused": False, "loss 0": 0.1}
    assert counted(found) == {"harmfulness": 3}
    monkeypatch.setattr(answers, "MOST_PROMPTS", 1)
    assert [one["id"] for one in side_by_side(run.folder, stale_refit=False)] == ["c"]


def test_an_outdated_refit_is_left_out(tmp_path: Path) -> None:
    # Its answers are those of an earlier decision, so nothing can have flipped.
    found = side_by_side(with_answers(make_toy_run(tmp_path, rows=9)).folder, stale_refit=True)
    assert [one["model"] for one in found[0]["answers"]] == ["base", "noisy", "safe"]
    assert not any(one["flips"] for one in found)


def test_a_model_that_was_not_asked_has_no_text(tmp_path: Path) -> None:
    # Three of the four models have answered the prompt c; the fourth has none, which is no empty answer.
    run = with_answers(make_toy_run(tmp_path, rows=9))
    path = run.folder / "eval" / "safe" / "harmfulness" / "generations.parquet"
    pl.read_parquet(path).filter(pl.col("id") != "c").write_parquet(path)
    assert [one["text"] is None for one in side_by_side(run.folder, False)[0]["answers"]] == [False, False, True, False]


def test_the_page_shows_them_when_asked(tmp_path: Path, browser: Browser) -> None:
    # No prompt or answer is in the page in the clear; a click shows the prompt and four answers as text alone.
    page = write_report(settings(with_answers(make_toy_run(tmp_path, rows=9))))
    assert "PROMPT-" not in page.read_text()
    browser.open(page)
    assert browser.run("unpacked_prompts.then(() => prompts.part('found').textContent)") == "1 to 3 of 3 prompts"
    browser.run("document.querySelector('#prompts-rows .show').click()")
    shown = browser.run("document.querySelector('#prompts-rows .text').textContent")
    assert "PROMPT-c" in shown and shown.count(visible(HOSTILE_TEXT)) == 4 and "harmful 1.000 · refused no" in shown
    browser.run("prompts.part('which').value = 'flipped'; choose_prompts()")
    assert browser.run("prompts.part('found').textContent") == "1 to 1 of 1 prompts" and not browser.errors
