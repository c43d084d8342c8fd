"""The slider over other settings, in a real browser."""

import re
import shlex
from pathlib import Path

import pytest
from browser import Browser
from toy_run import HOSTILE_SOURCE, make_toy_run, with_sweep
from two_logs import write_two_logs

from forgetfilter import cli
from forgetfilter.errors import plain_label
from forgetfilter.files import read_json, write_json
from forgetfilter.report.page import write_report
from forgetfilter.report.stage import settings
from forgetfilter.storage.run_folder import Run

CELLS = "[...document.querySelectorAll('#sweep-sources tr')].map(row => [...row.children].map(one => one.textContent))"
TEXT = "document.getElementById('sweep-{}').textContent"
PRESS = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return with_sweep(make_toy_run(tmp_path_factory.mktemp("swept")))


def press(browser: Browser, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=PRESS[key])


def test_the_slider_is_moved_by_keys_and_tells_what_would_be_dropped(swept: Run, browser: Browser) -> None:
    # It begins at the decision, which needs no command; a step to the right tells the counts of the next value, of each
    # source too, and the command for it. A button leads back.
    browser.open(write_report(settings(swept)))
    assert browser.run(TEXT.format("value")) == "0.3" and browser.run("document.getElementById('sweep-apply').hidden")
    assert browser.run(TEXT.format("said")).startswith("This is the setting of the decision. It drops 27 of 90 rows (")
    browser.run("slider.focus()")
    press(browser, "ArrowRight")
    assert browser.run(TEXT.format("said")) == (
        "It would drop 36 of 90 rows (40.0%), 9 more than the decision. By the estimate of the probes, 4 (4 to 6) "
        "unsafe rows would be left, and 4 good rows lost. By the labels, 4 of 30 unsafe rows would be left, and "
        "4 of 60 good rows lost."
    )
    told = read_json(swept.folder / "filter" / "sweep.json")["by_source"]
    cells = {row[0]: row[1:] for row in browser.run(CELLS)}
    assert cells == {plain_label(name): ["30", str(counts[3]), str(counts[4])] for name, counts in told.items()}
    assert browser.run(TEXT.format("command")).endswith(" filter.quantile=0.4")
    assert browser.run("slider.getAttribute('aria-valuetext')") == "filter.quantile 0.4, 36 rows dropped"
    press(browser, "End")
    assert browser.run(TEXT.format("value")) == "0.9"
    browser.run("document.getElementById('sweep-back').click()")
    assert browser.run(TEXT.format("value")) == "0.3" and not browser.errors and len(browser.requests) == 1


def test_the_table_stands_without_javascript(swept: Run, browser: Browser) -> None:
    # The slider is not shown there, and the table is; with JavaScript the table is folded.
    page = write_report(settings(swept))
    seen = "['sweep-tool', 'sweep-all'].map(name => document.querySelector(`#${name} table`).checkVisibility())"
    browser.open(page)
    assert browser.run(seen) == [True, False]
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
        assert browser.run(seen) == [False, True]
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    rows = re.findall(r'role="cell" data-label="filter.quantile"><span>(.*?)</span>', page.read_text())
    assert len(rows) == 10 and rows[3] == "<b>0.3 (the decision)</b>" and rows[4] == "0.4"


def test_names_of_sources_are_text_and_a_run_without_a_sweep_has_none(tmp_path: Path, browser: Browser) -> None:
    # The hostile name is in the page's data and in its table, and no element is made of it. An older run says nothing.
    run = make_toy_run(tmp_path)
    assert 'id="sweep"' not in write_report(settings(run)).read_text()
    browser.open(write_report(settings(with_sweep(run))))
    assert plain_label(HOSTILE_SOURCE) in [row[0] for row in browser.run(CELLS)]
    assert browser.run("document.querySelectorAll('img').length") == 0 and not browser.errors


def test_a_rule_without_a_number_begins_where_nearly_as_many_are_dropped(tmp_path: Path, browser: Browser) -> None:
    # 27 rows are dropped by another rule, so 0.3 is nearest, whose command names the rule and is shown.
    run = with_sweep(make_toy_run(tmp_path))
    for name, told in (("sweep", {"now": None}), ("summary", {"rule": {"name": "otsu"}})):
        path = run.folder / "filter" / f"{name}.json"
        write_json(path, read_json(path) | told)
    browser.open(write_report(settings(run)))
    assert browser.run(TEXT.format("said")).startswith("It would drop 27 of 90 rows (30.0%), as many as the decision.")
    assert browser.run(TEXT.format("command")).endswith(" filter.rule=quantile filter.quantile=0.3")
    said = browser.run("document.querySelector('#sweep p').textContent")
    assert said.startswith("The rule of the decision, otsu, is not varied here; the rule quantile stands in its place.")


def test_the_command_of_the_page_does_what_it_told(
    tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Settings that the decision took from the command line stand in the command too: the real filter, called with it,
    # drops what the page told.
    write_two_logs(tmp_path)
    monkeypatch.chdir(tmp_path)
    run("filter --from before after --data noisy.jsonl --safe safe.jsonl name=r tracking.mode=disabled")
    run("filter runs/r filter.signal=loss_rise filter.rule=top_k filter.top_k=3")
    run("report runs/r")
    browser.open(tmp_path / "runs" / "r" / "report.html")
    assert browser.run(TEXT.format("value")) == "3"
    browser.run("slider.value = Number(slider.value) + 2; tell_sweep()")
    assert "It would drop 5 of 12 rows (41.7%), 2 more than the decision." in browser.run(TEXT.format("said"))
    words = shlex.split(browser.run(TEXT.format("command")))
    assert {"filter.signal=loss_rise", "filter.rule=top_k", "filter.top_k=5"} <= {*words}
    run(shlex.join(words[1:]))
    assert read_json(tmp_path / "runs" / "r" / "filter" / "summary.json")["dropped"] == 5


def run(words: str) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(shlex.split(words))
    assert not end.value.code
