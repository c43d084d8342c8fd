import subprocess
import sys
from typing import Any

import pytest
from forgetfilter.filter.__main__ import main
from forgetfilter.filter.decide import input_hash
from forgetfilter.filter.stage import settings

from forgetfilter.errors import UserError
from forgetfilter.files import read_json
from forgetfilter.storage.run_folder import Run


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "forgetfilter.filter", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def imported(result: subprocess.CompletedProcess[str]) -> set[str]:
    """Top-level packages in what -X importtime printed."""
    rows = [line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines() if line.startswith("import time:")]
    return {name.split(".")[0] for name in rows}


def test_reruns_on_stored_signals(make_toy: Any, four_rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    # an override changes the decision and the recorded state, not the run's config
    toy = make_toy(four_rows)
    run = toy.run()
    run.write_config()
    main([str(toy.folder), "filter.rule=phi", "filter.phi=0.1", "filter.signal=loss_rise"])
    printed = capsys.readouterr().out
    assert "forum" in printed and "auroc" in printed and "1.000" in printed
    assert read_json(toy.folder / "filter/summary.json")["rule"] == {"name": "phi", "phi": 0.1}
    changed = toy.run(rule="phi", phi=0.1, signal="loss_rise")
    assert run.is_done("filter", input_hash(settings(changed)))
    assert not run.is_done("filter", input_hash(settings(run)))  # so that the pipeline decides again by its own config
    assert Run.open(toy.folder).config.filter.rule == "quantile"


def test_a_refused_decision_leaves_the_earlier_one(make_toy: Any, four_rows: Any) -> None:
    # files and state are those of before
    toy = make_toy(four_rows)
    toy.run().write_config()
    main([str(toy.folder)])
    before = {path: path.read_bytes() for path in toy.folder.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="drops every example"):
        main([str(toy.folder), "filter.rule=top_k", "filter.top_k=9"])
    assert {path: path.read_bytes() for path in toy.folder.rglob("*") if path.is_file()} == before


def test_says_when_nothing_is_dropped(make_toy: Any, four_rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    # keeping everything is allowed, and not silent; nor are rows without a score
    toy = make_toy([*four_rows, ("cut away", "mail", None, 0, 0.0, 0.0)])
    toy.run().write_config()
    main([str(toy.folder), "filter.quantile=0"])
    printed = capsys.readouterr().out
    assert "Nothing was dropped" in printed
    assert "1 kept without a score (no label tokens)." in printed


def test_starts_without_torch(make_toy: Any, four_rows: Any) -> None:
    # no model and no torch; sklearn only where there are labels to measure by
    bare = make_toy([(*row[:2], None, *row[3:]) for row in four_rows])
    bare.run().write_config()
    result = run_module(str(bare.folder))
    assert result.returncode == 0, result.stderr[-2000:]
    assert not imported(result) & {"torch", "transformers", "datasets", "sklearn"}
    labelled = make_toy(four_rows)
    labelled.run().write_config()
    result = run_module(str(labelled.folder))
    assert result.returncode == 0, result.stderr[-2000:]
    assert not imported(result) & {"torch", "transformers", "datasets"}
    assert "sklearn" in imported(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a run folder first"),
        (["filter.phi=1"], "name a run folder first"),
        (["RUN", "train.method=full"], "only filter.KEY=VALUE can be set here"),
        (["RUN", "filter.quantile=2"], "filter.quantile must be between 0 and 1"),
        (["RUN", "filter.rule=quantil"], "did you mean 'quantile'"),
        (["RUN/data"], "is no run folder"),
    ],
)
def test_mistakes(make_toy: Any, four_rows: Any, arguments: list[str], message: str) -> None:
    # each mistake is one line that says what to do
    toy = make_toy(four_rows)
    toy.run().write_config()
    with pytest.raises(UserError, match=message) as caught:
        main([argument.replace("RUN", str(toy.folder)) for argument in arguments])
    assert "\n" not in str(caught.value)


def test_exit_code_of_a_mistake(make_toy: Any, four_rows: Any) -> None:
    # as a module, too, a user's mistake is exit 2 and a line on stderr without a traceback
    toy = make_toy(four_rows)
    toy.run().write_config()
    result = run_module(str(toy.folder), "filter.rule=top_k", "filter.top_k=9")
    assert result.returncode == 2
    assert "drops every example that has a score" in result.stderr
    assert "Traceback" not in result.stderr
