"""What strangers wrote reaches the terminal as text alone: no command of the pipeline prints what would steer it."""

import json
from pathlib import Path

import polars as pl
import pytest
from toy_study import call, write_config

# it would clear the screen, rename the window, be markup, turn the line around, and begin a new line
EVIL = "\x1b[2J \x1b]0;owned\x07 [/red] \u202e\u2066 \x9b31m \r\x0b\u2028 \x00"


def hostile_config(folder: Path, model: Path) -> Path:
    """A config of rows whose every field is hostile, and which name their source and label themselves."""
    rows = [
        {"prompt": f"{EVIL} what is {n}?", "completion": f"it is {n} {EVIL}", "source": f"{EVIL}{n % 2}"}
        | {"label": ("safe", "unsafe")[n % 2], f"field {EVIL}": EVIL}
        for n in range(12)
    ]
    trusted = [row | {"prompt": f"say {n} {EVIL}"} for n, row in enumerate(rows[:6])]
    harm = [{"prompt": f"do harm {n} {EVIL}", "category": EVIL} for n in range(3)]
    (folder / "harm.jsonl").write_text("".join(json.dumps(row) + "\n" for row in harm))
    prompts = {"harmfulness": {"path": str(folder / "harm.jsonl")}}
    return write_config(
        folder,
        model,
        {"noisy": rows, "safe": trusted},
        train={name: {"epochs": 1, "batch_size": 4} for name in ("noisy", "safe", "refit")},
        filter={"signal": "loss_rise", "rule": "quantile"},
        eval={"models": ["base", "refit"], "suites": ["harmfulness"], "max_new_tokens": 2, "data": prompts},
    )


def test_no_command_prints_what_steers_a_terminal(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # Names of fields and sources, prompts and answers are hostile, and the folders look like patterns; every command is
    # done, and prints letters and line ends alone.
    folder = tmp_path / "a[1] {b}* %20"
    folder.mkdir()
    monkeypatch.chdir(folder)
    config, run = hostile_config(folder, tiny_model), folder / "runs" / "r"
    steering: dict[str, list[str]] = {}

    def check(*words: object) -> str:
        code, said = call(*words), "".join(capfd.readouterr())
        steering[" ".join(map(str, words))] = sorted({c for c in said if not c.isprintable() and c != "\n"})
        assert code == 0, said
        return said

    check("run", config)
    dropped = pl.read_parquet(run / "filter" / "decisions.parquet", glob=False).sort("rank")["id"][0]
    assert "it is" in check("filter", run, "--why", dropped, "--reveal")
    check("filter", run, "--sweep")
    check("filter", run, "--review", 5, "--reveal")
    check("eval", "--compare", run, run)
    check("report", run)
    check("verify", run)
    check("config", run)
    check("plan", config)
    check("chat", run, "--prompt", EVIL.replace("\x00", ""))
    check("init", "noisy.jsonl", "--name", "other")
    assert len(steering) == 11 and not {words: found for words, found in steering.items() if found}
