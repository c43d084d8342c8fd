"""The closing table of a made-up run folder."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from toy_run import make_toy_run

from forgetfilter.cli.closing import close
from forgetfilter.files import read_json, write_json
from forgetfilter.report.cost import pass_rows
from forgetfilter.report.terminal import closing_table
from forgetfilter.storage.results import read_time
from forgetfilter.storage.run_folder import Run


def test_closing_table_shows_the_run(toy_run: Run) -> None:
    # The table has kept, dropped, quality, safety of all four models and time, and brackets in a source's name stay as
    # they are.
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(closing_table(toy_run.folder))
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
    assert (
        text.index("Verdict")
        < text.index("88% of the harm that training on everything did is avoided")
        < text.index("63")
    )
    assert "[b]</script>" in text and "\x01" not in text


def test_closing_table_in_80_columns(toy_run: Run) -> None:
    # Every metric is named, every interval is whole, and every line fits.
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(closing_table(toy_run.folder))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert {"toxicity", "mean", "accuracy", "ambiguous", "0.26…0.36"} <= set(text.split())


def test_closing_table_without_labels_and_evaluations(tmp_path: Path) -> None:
    # What the run does not have is left out.
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(closing_table(make_toy_run(tmp_path, labels=False, evaluate=False).folder))
    text = console.export_text()
    assert "all" in text and "Safety" not in text and "Verdict" not in text and "quality" not in text


def test_an_evaluation_before_the_decision_ends_with_its_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The released model may be measured before anything is filtered: the command shows what it measured, and ends well.
    run = make_toy_run(tmp_path)
    shutil.rmtree(run.folder / "filter")
    close("eval", run.folder, ())
    said = capsys.readouterr().out
    assert "Safety" in said and "dropped" not in said and said.splitlines()[-1] == str(run.folder)


def test_the_cost_has_tokens_a_second_and_the_memory_of_gpus(tmp_path: Path) -> None:
    # Of a stage with two passes over data they are counted together, and generated answers for themselves. Two
    # devices of 100 operations a second, which did 120 in 2 s and in 4 s, did 30% and 15%: 20% in all 6 s.
    run = make_toy_run(tmp_path)
    state = read_json(run.folder / "state.json")
    losses = {"tokens": 600, "seconds": 2.0, "whole": False, "positions": 800, "padding": 200, "ranks": 2}
    losses |= {"operations": 120.0, "ceiling": 100.0}
    passes = {
        "before": losses,
        "after": losses | {"seconds": 4.0},
        "rouge1": losses | {"answers": True, "operations": 0.0},
    }
    first = next(iter(state))
    state[first] |= {"passes": passes, "memory_gb": 4.0, "gpu_gb": 31.9}
    write_json(run.folder / "state.json", state)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(closing_table(run.folder))
    cost = console.export_text().partition("Cost")[2]
    assert "300 generated" in cost and " 200 " in cost and "GPU GB" in cost and cost.count("31.9") == 2
    assert "20% of ceiling" in cost and max(map(len, cost.splitlines())) <= 80
    rows = pass_rows(read_time(run.folder))
    assert [row[:2] for row in rows] == [[first, "after"], [first, "before"], [first, "rouge1"]]
    assert rows[1][2:] == ["600, last part", "300", "150", "30.0%", "25.0%", "0.0 s", "–", "–", "–"]
