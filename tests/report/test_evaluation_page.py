"""The report of an evaluation alone."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from toy_study import call

from forgetfilter.config.schema import Config, EvalConfig, ModelConfig, SourceConfig, TrackingConfig
from forgetfilter.errors import Stopped
from forgetfilter.files import read_json, write_json
from forgetfilter.pipeline import STAGES, note_sums
from forgetfilter.report.evaluation_page import write_evaluation
from forgetfilter.report.stage import settings
from forgetfilter.report.terminal import closing_table
from forgetfilter.storage.results import is_decided
from forgetfilter.storage.run_folder import Run

ASKED = EvalConfig(models=["base"], suites=["bias"], data={"bias": SourceConfig(path="prompts.jsonl")})
OFF = TrackingConfig("disabled")
METRICS = {
    "accuracy": {"value": 0.25, "low": 0.125, "high": 0.5, "n": 8, "missing": 1, "better": "higher"},
    "accuracy [Age <b>]": {"value": None, "low": None, "high": None, "n": 2, "missing": 2},
}


@pytest.fixture
def measured(tmp_path: Path) -> Run:
    """A run that only evaluates, whose evaluation was done by hand."""
    config = Config(name="<i>", output=str(tmp_path), eval=ASKED, model=ModelConfig(name="a<b"), tracking=OFF)
    run = Run(tmp_path / "<i>", config)
    run.write_config()
    place = run.folder / "eval" / "base" / "bias"
    place.mkdir(parents=True)
    told: dict[str, Any] = {"suite": "bias", "model": "base", "metrics": METRICS, "made_with": "the formula of a paper"}
    (place / "metrics.json").write_text(json.dumps(told))
    with run.stage("mix", "by hand"), run.stage("eval", "by hand"):
        return run


def test_a_refit_of_an_earlier_decision_is_in_neither_picture_nor_table(measured: Run) -> None:
    # Both are made of the same metrics.
    place = measured.folder / "eval" / "refit" / "bias"
    place.mkdir(parents=True)
    (place / "metrics.json").write_text(json.dumps({"suite": "bias", "model": "refit", "metrics": METRICS}))
    for stale, there in (((), True), (("evaluation",), False)):
        page = write_evaluation(settings(measured, stale)).read_text()
        assert ("<span>refit</span>" in page) == there


@pytest.mark.parametrize("words", [(), ("--reveal",)])
def test_report_makes_a_page_of_an_evaluation_alone(measured: Run, words: tuple[str, ...]) -> None:
    # Page and card have every metric with its interval and counts, by category too, what it was measured with, and no
    # markup of names; the page asks no network for anything.
    assert call("report", measured.folder, *words) == 0
    page, card = (measured.folder / "report.html").read_text(), read_json(measured.folder / "card.json")
    cells = re.findall(r"<td.*?><span>(.*?)</span></td>", page.rpartition("All metrics")[2])
    assert cells[:6] == ["bias", "accuracy (higher is better)", "base", "0.250 [0.125, 0.500]", "8", "1"]
    assert "accuracy [Age &lt;b&gt;]" in cells[7] and cells[9] == "–"
    assert "Evaluation of &lt;i&gt;" in page and "Model a&lt;b" in page and "The formula of a paper." in page
    assert "<i>" not in page.replace("&lt;i&gt;", "") and "default-src 'none'" in page
    assert card["metrics"] == {"bias": {"accuracy": {"base": METRICS["accuracy"]}}} and card["name"] == "<i>"
    assert words or measured.state()["report"]["status"] == "done"


def test_without_an_evaluation_the_filter_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Nothing was measured or decided: one line, and no page.
    run = Run(tmp_path / "r", Config(name="r", output=str(tmp_path), eval=ASKED))
    run.write_config()
    assert call("report", run.folder) == 2
    assert "stage filter is not done" in capsys.readouterr().err and not (run.folder / "report.html").exists()


def test_a_filter_that_was_stopped_has_decided_nothing(measured: Run) -> None:
    # Page, terminal and the next step agree: the files of a decision count once its stage is done, and while they are
    # there.
    summary = measured.folder / "filter" / "summary.json"
    write_json(summary, {})
    with pytest.raises(Stopped), measured.stage("filter", "by hand"):
        raise Stopped("by a signal")
    assert not settings(measured).decided and not is_decided(measured.folder)
    closing_table(measured.folder)  # which would read the summary
    with measured.stage("filter", "by hand"):
        pass
    assert settings(measured).decided and is_decided(measured.folder)
    summary.unlink()
    assert not settings(measured).decided and not is_decided(measured.folder)


def test_a_damaged_metric_is_not_reported(measured: Run, capsys: pytest.CaptureFixture[str]) -> None:
    # A figure that is not as the evaluation left it stands in no report, comparison or log.
    note_sums(measured.folder, next(stage for stage in STAGES if stage.name == "eval"))
    path = measured.folder / "eval" / "base" / "bias" / "metrics.json"
    path.write_text(path.read_text().replace("0.25", "0.75"))
    for words in (
        ("report", measured.folder),
        ("report", measured.folder, "--reveal"),
        ("eval", measured.folder, "--compare", "base", "base"),
        ("eval", "--compare", measured.folder, measured.folder),
        ("eval", "--compare", f"{measured.folder}:base", f"{measured.folder}:base"),
        ("eval", measured.folder, "--inspect-log", measured.folder / "log"),
    ):
        assert call(*words) == 2
        assert f"{path} is not as eval left it" in capsys.readouterr().err
    assert not (measured.folder / "report.html").exists()
