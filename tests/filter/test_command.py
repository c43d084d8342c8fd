"""`forgetfilter filter RUN`: decides again on stored signals, without a model."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from forgetfilter.filter.stage import settings

from forgetfilter import cli
from forgetfilter.config.schema import TrackingConfig
from forgetfilter.files import read_json
from forgetfilter.storage.run_folder import Run


def call(*arguments: str) -> Any:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as left:
        cli.main(["filter", *arguments])
    return left.value.code


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "forgetfilter", "filter", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def imported(result: subprocess.CompletedProcess[str]) -> set[str]:
    """Top-level packages in what -X importtime printed."""
    rows = [line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines() if line.startswith("import time:")]
    return {name.split(".")[0] for name in rows}


@pytest.fixture
def scored(make_toy: Any) -> Any:
    """From rows to a run folder whose mix and scoring are recorded as done."""

    def make(rows: Any) -> Any:
        toy = make_toy(rows)
        run = Run(toy.folder, replace(toy.run().config, tracking=TrackingConfig(mode="disabled")))
        run.write_config()
        for stage in ("mix", "score"):
            with run.stage(stage, "hash"):
                pass
        return toy

    return make


def test_reruns_on_stored_signals(scored: Any, four_rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    # An override changes the decision and the recorded state, but not the run's config.
    toy = scored(four_rows)
    assert call(str(toy.folder), "filter.rule=phi", "filter.phi=0.1", "filter.signal=loss_rise") == 0
    printed = capsys.readouterr().out
    assert "forum" in printed and "auroc" in printed and "1.000" in printed
    assert read_json(toy.folder / "filter/summary.json")["rule"] == {"name": "phi", "phi": 0.1}
    run, changed = toy.run(), toy.run(rule="phi", phi=0.1, signal="loss_rise")
    assert run.is_done("filter", settings(changed).input_hash())
    assert not run.is_done("filter", settings(run).input_hash())  # so that the pipeline decides again by its own config
    assert Run.open(toy.folder).config.filter.rule == "quantile"


def test_a_refused_decision_leaves_the_earlier_one(scored: Any, four_rows: Any, capsys: Any) -> None:
    # If the command refuses a decision, every file of the run folder is as it was.
    toy = scored(four_rows)
    assert call(str(toy.folder)) == 0
    before = {path: path.read_bytes() for path in toy.folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert call(str(toy.folder), "filter.rule=top_k", "filter.top_k=9") == 2
    said = capsys.readouterr().err
    assert "drops every example that has a score" in said and "Traceback" not in said
    assert {path: path.read_bytes() for path in toy.folder.rglob("*") if path.is_file()} == before


def test_says_when_nothing_is_dropped(scored: Any, four_rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    # Keeping everything is allowed, and the command says it, as it says how many rows have no score.
    toy = scored([*four_rows, ("cut away", "mail", None, 0, 0.0, 0.0)])
    assert call(str(toy.folder), "filter.quantile=0") == 0
    printed = capsys.readouterr().out
    assert "Nothing was dropped" in printed
    assert "1 row was kept without a score (no label tokens)." in printed


def test_starts_without_torch(scored: Any, four_rows: Any) -> None:
    # The command loads no model and no torch, and scikit-learn only if there are labels to measure by.
    bare = scored([(*row[:2], None, *row[3:]) for row in four_rows])
    result = run_module(str(bare.folder))
    assert result.returncode == 0, result.stderr[-2000:]
    assert not imported(result) & {"torch", "transformers", "datasets", "sklearn"}
    labelled = scored(four_rows)
    result = run_module(str(labelled.folder))
    assert result.returncode == 0, result.stderr[-2000:]
    assert not imported(result) & {"torch", "transformers", "datasets"}
    assert "sklearn" in imported(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["filter.phi=1"], "name a config file"),
        (["RUN", "train.method=full"], "only filter.KEY=VALUE can be given here"),
        (["RUN", "filter.quantile=2"], "filter.quantile must be between 0 and 1"),
        (["RUN", "filter.rule=quantil"], "did you mean 'quantile'"),
        (["RUN/data"], "is no run folder"),
    ],
)
def test_mistakes(scored: Any, four_rows: Any, capsys: Any, arguments: list[str], message: str) -> None:
    # Each mistake gives one line that says what to do.
    toy = scored(four_rows)
    assert call(*(argument.replace("RUN", str(toy.folder)) for argument in arguments)) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
