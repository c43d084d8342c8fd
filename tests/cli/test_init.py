"""forgetfilter init: what it writes, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from toy_study import call

from forgetfilter.config.load import load_config


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def pairs(number: int, what: str = "is") -> list[dict[str, Any]]:
    return [{"prompt": f"what {what} {n}?", "completion": f"it {what} {n}"} for n in range(number)]


def test_the_config_has_what_was_given_and_made_up_rows_for_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    # Without a safe set the config has a made-up one, of which no probes are taken, and the terminal says that it is
    # missing.
    write("their data.jsonl", pairs(200))
    assert call("init", "their data.jsonl") == 0
    shown = capsys.readouterr().out
    assert "missing: a safe set of your own" in shown and shown.splitlines()[-1] == "their-data.yaml"
    config = load_config("their-data.yaml")
    assert config.name == "their-data" and config.data.noisy["their-data"].path == "their data.jsonl"
    assert config.data.probe_share == 0 and not config.has_probes
    assert {*config.eval.data} == {"toxicity", "bias", "harmfulness", "task"}
    sources = [*config.data.safe.values(), *config.eval.data.values()]
    assert all(Path(source.path).is_file() for source in sources)


def test_probes_are_proposed_from_the_noisy_rows() -> None:
    # A third of few rows is proposed, and the commented line makes them probes once it is uncommented.
    write("a.jsonl", pairs(150))
    write("safe.jsonl", pairs(9, "was"))
    assert call("init", "a.jsonl", "--safe", "safe.jsonl") == 0
    rows = Path("a-data/probes_to_check.jsonl").read_text().splitlines()
    asked = [json.loads(row)["messages"][0]["content"] for row in rows]
    assert len({*asked}) == 50 and {*asked} <= {row["prompt"] for row in pairs(150)}
    text = Path("a.yaml").read_text()
    Path("a.yaml").write_text(text.replace("# probes:", "probes:"))
    assert load_config("a.yaml").gives_probes and load_config("a.yaml").data.probe_share == 0.25


def test_several_files_their_columns_and_a_model(tiny_model: Path) -> None:
    # Sources are named after the files, a name that is taken gets a number, and columns are set where they are needed.
    Path("b").mkdir()
    asked = [{"question": "x", "answer": "y"}]
    words = (write("a.jsonl", pairs(3)), write("b/a.jsonl", asked), "--safe", write("s.jsonl", asked))
    assert (
        call("init", *words, "--probes", write("p.jsonl", pairs(40, "had")), "--model", tiny_model, "--name", "n") == 0
    )
    config = load_config("n.yaml")
    assert list(config.data.noisy) == ["a", "a-2"] and config.model.name == str(tiny_model)
    assert (
        config.data.noisy["a-2"].columns
        == config.data.safe["s"].columns
        == {"prompt": "question", "completion": "answer"}
    )
    assert config.data.probes["p"].path == "p.jsonl" and not Path("n-data/safe.jsonl").exists()


def test_what_was_found_stands_beside_its_source_and_no_row_can_write_a_setting() -> None:
    # What was found stands in comments, and a field whose name has a line end in it stays within its comment.
    write("a.jsonl", [row | {"x\nname: evil": 1} for row in pairs(3)])
    assert call("init", "a.jsonl") == 0
    text = Path("a.yaml").read_text()
    assert "    # 3 rows, shaped as prompt and completion (3)" in text and "\nname: evil" not in text
    assert load_config("a.yaml").name == "a"


def test_a_long_row_is_counted_as_cut() -> None:
    # The config says that 1 of 100 rows is longer than the least length, which is proposed because the other 99 fit.
    write("a.jsonl", [*pairs(99), {"text": "x" * 4000}])
    assert call("init", "a.jsonl") == 0
    assert "max_length: 512  # tokens; about 1 of the rows above are longer" in Path("a.yaml").read_text()


def test_nothing_that_exists_is_overwritten(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    # If the config or a file of its folder exists already, nothing at all is written.
    write("a.jsonl", pairs(3))
    Path("a-data").mkdir()
    write("a-data/safe.jsonl", pairs(1))
    assert call("init", "a.jsonl") == 2
    assert "a-data/safe.jsonl is there already, and is not overwritten: give --name NEW" in capsys.readouterr().err
    assert sorted(path.name for path in here.rglob("*")) == ["a-data", "a.jsonl", "safe.jsonl"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no.jsonl"], "no.jsonl is missing (FILE.path)"),
        (["bad.jsonl"], "bad.jsonl line 1: not valid JSON"),
        (["empty"], "a folder without data files"),
        (["good.jsonl", "--safe", "bad.jsonl"], "bad.jsonl line 1"),
    ],
)
def test_what_cannot_be_read_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    # The exit code is 2, the line names the file and row, and no config is written.
    Path("bad.jsonl").write_text("{\n")
    Path("empty").mkdir()
    write("good.jsonl", pairs(3))
    assert call("init", *words) == 2
    shown = capsys.readouterr().err
    assert said in shown and len(shown.splitlines()) == 1 and not list(Path().glob("*.yaml"))


def test_roles_of_other_names_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    # The line of a refused row names the roles, and with --role they stand in the config.
    chat = [{"from": "customer", "value": "a"}, {"from": "agent", "value": "b"}]
    write("a.jsonl", [{"conversations": chat}] * 3)
    assert call("init", "a.jsonl") == 2 and "set roles: {customer: user}" in capsys.readouterr().err
    assert call("init", "a.jsonl", "--role", "customer=user", "--role", "agent=helper") == 2
    assert "among system, user, assistant, tool, got 'agent=helper'" in capsys.readouterr().err
    assert call("init", "a.jsonl", "--role", "customer=user", "--role", "agent=assistant") == 0
    assert load_config("a.yaml").data.noisy["a"].roles == {"customer": "user", "agent": "assistant"}
