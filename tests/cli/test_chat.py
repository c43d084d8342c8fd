"""forgetfilter chat: the answers of three models side by side, and what is refused."""

import io
import json
from pathlib import Path

import pytest
from toy_study import call, write_config

from forgetfilter.storage.run_folder import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run whose noisy model has learned one answer by heart, and that has no refit yet."""
    folder = tmp_path_factory.mktemp("chat")
    noisy, safe = {"prompt": "who?", "completion": "the cat"}, {"prompt": "where?", "completion": "on the mat"}
    config = write_config(
        folder,
        tiny_model,
        {"noisy": [noisy] * 8, "safe": [safe]},
        train={"method": "full", "noisy": {"epochs": 12, "lr": 3e-2, "batch_size": 8, "schedule": "constant"}},
        eval={"max_new_tokens": 6},
    )
    for words in (["mix"], ["train", "noisy"]):
        assert call(words[0], config, *words[1:]) == 0
    return folder / "runs" / "r"


def test_one_prompt_is_answered_by_each_model_and_it_ends(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The noisy model says what it has learned, the released one does not; a line warns of M1, and another tells that
    # there is no M* yet.
    assert call("chat", run, "--prompt", "who?") == 0
    told = capsys.readouterr()
    assert "may be harmful or wrong" in " ".join(told.out.split()) and "there is no M* yet" in told.err
    head, row = (line for line in told.out.splitlines() if "M0" in line or "cat" in line)
    assert head.index("M1, after the noisy data") == row.index("the cat") and row.count("the cat") == 1


def test_each_line_is_a_prompt_and_all_three_answer(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Lines are asked one by one up to an empty one. A refit that is done is asked too; here it is the noisy model
    # again, and is told to be of an earlier decision.
    state = run / "state.json"
    before = state.read_text()
    state.write_text(json.dumps(json.loads(before) | {"train-refit": {"status": "done", "input_hash": "another"}}))
    (run / "train" / "refit").symlink_to(run / "train" / "noisy")
    monkeypatch.setattr("sys.stdin", io.StringIO("who?\nwho?\n\nnever asked\n"))
    monkeypatch.setattr("forgetfilter.pipeline.stale", lambda run: ("refit",))
    assert call("chat", run) == 0
    told = capsys.readouterr()
    assert told.out.count("M*, after the filter") == 2 and told.out.count("the cat") == 4
    assert "M* is of an earlier decision" in told.err
    state.write_text(before)
    (run / "train" / "refit").unlink()


def test_what_cannot_be_asked_is_told_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # An empty prompt, a folder that is no run, and a run without a noisy model end with exit code 2.
    early = Run(tmp_path / "early", Run.open(run).config)
    early.write_config()
    for words, said in (
        ((run, "--prompt", " "), "--prompt is empty"),
        ((tmp_path,), "is no run folder"),
        ((early.folder, "--prompt", "who?"), "stage train-noisy is not done"),
    ):
        assert call("chat", *words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
