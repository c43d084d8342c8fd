"""Each command's --help, --quiet, and the answers in JSON."""

import argparse
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from toy_study import call

from forgetfilter.cli.closing import NEXT
from forgetfilter.cli.commands import _parser
from forgetfilter.cli.examples import EXAMPLES
from forgetfilter.process import progress


def commands() -> dict[str, argparse.ArgumentParser]:
    (choices,) = (one.choices for one in _parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(choices)


@pytest.mark.parametrize("name", sorted(commands()))
def test_each_help_ends_with_an_example_that_is_one(name: str) -> None:
    # The example of each help is one line of this command that the command line takes.
    assert commands()[name].format_help().rstrip().endswith(f"example:\n  {EXAMPLES[name]}")
    program, *words = shlex.split(EXAMPLES[name])
    options, rest = _parser().parse_known_args(words)
    assert program == "forgetfilter" and options.command == name
    assert all("=" in word or name == "train" for word in rest)


def test_commands_within_sentences_have_names_and_options_that_are_there() -> None:
    # A command in the text of a page is not run by tests/test_commands.py, but a name that is gone would mislead.
    root = Path(__file__).resolve().parents[2]
    known = {name: {*command._option_string_actions} for name, command in commands().items()}
    found = 0
    for page in (*root.glob("*.md"), *root.glob("docs/*.md"), root / "slurm" / "README.md"):
        for command, rest in re.findall(r"`forgetfilter (\w+)([^`]*)`", page.read_text(encoding="utf-8")):
            assert command in known, f"{page.name}: forgetfilter {command}"
            assert {*re.findall(r"(?<!\S)--[a-z][\w-]*", rest)} <= known[command], f"{page.name}: {command}{rest}"
            found += 1
    assert found > 30


@pytest.fixture
def decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """A run folder by two logs, decided on with --quiet, and what that printed."""
    import polars as pl

    from forgetfilter.api import ids
    from forgetfilter.storage.shards import shard_path

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(progress.QUIET, "")
    monkeypatch.setattr(progress.console, "quiet", False)
    rows = [{"prompt": f"{n}?", "completion": f"secret {n}"} for n in range(8)]
    for name, given in (("noisy", rows), ("safe", [{"text": "a"}])):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    for state, rise in (("before", 0.0), ("after", 1.0)):
        path = shard_path(Path(state), 0, 0)
        path.parent.mkdir(parents=True)
        table = {"id": ids(rows), "num_tokens": [2] * 8, "loss_sum": [1.0 + rise * n for n in range(8)]}
        pl.DataFrame(table).write_parquet(path)
    words = "filter --from before after --data noisy.jsonl --safe safe.jsonl filter.rule=top_k filter.top_k=2 --quiet"
    assert call(*words.split()) == 0
    shown = capsys.readouterr()
    return {"out": shown.out, "err": shown.err, "ids": ids(rows)}


def test_quiet_prints_the_result_alone(decided: dict[str, Any]) -> None:
    # Nothing but the run folder is printed, without progress and tables.
    assert decided["out"] == "runs/noisy\n" and decided["err"] == ""


def test_a_question_is_answered_in_json(decided: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    # --why answers with every text masked unless --reveal is given, and --sweep with the rows of the curve; --json
    # without a question is refused.
    asked = ("filter", "runs/noisy", "--why", decided["ids"][7], "--json")
    assert call(*asked) == 0
    shown = capsys.readouterr().out
    found = json.loads(shown)
    assert found["drop"] and found["rank"] == 1 and found["text"] == "masked (2 words)" and "secret" not in shown
    assert call(*asked, "--reveal") == 0 and json.loads(capsys.readouterr().out)["text"] == "secret 7"
    assert call("filter", "runs/noisy", "--sweep", "--json", "filter.rule=top_k", "filter.top_k=2") == 0
    assert [row["dropped"] for row in json.loads(capsys.readouterr().out)][:3] == [0, 1, 2]
    assert call("filter", "runs/noisy", "--json") == 2
    assert capsys.readouterr().err == "forgetfilter: --json answers --sweep or --why: give one of them\n"


def test_the_last_lines_say_what_to_open_and_what_comes_next(
    decided: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # On stderr, so that the last line of stdout is the run folder alone; the commands that they name are commands.
    monkeypatch.setenv(progress.QUIET, "")
    monkeypatch.setattr(progress.console, "quiet", False)
    assert call("filter", "runs/noisy", "filter.rule=top_k", "filter.top_k=3") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "runs/noisy"
    opened, after = shown.err.splitlines()[-2:]
    assert opened == "open runs/noisy/filter/dropped.jsonl" and Path(opened.removeprefix("open ")).exists()
    assert after == "next: forgetfilter filter runs/noisy --review, or forgetfilter train runs/noisy refit"
    for step in NEXT.values():
        for line in step.format(run="runs/noisy").split(", or "):
            _, *words = shlex.split(line)
            assert not [word for word in _parser().parse_known_args(words)[1] if word.startswith("-")]


def test_the_doctor_answers_in_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # The answer has the facts of the table.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert call("doctor", "--json") == 0
    assert {
        key: value for key, value in json.loads(capsys.readouterr().out)[0].items() if key in ("name", "found")
    } == {"name": "Python", "found": True}
