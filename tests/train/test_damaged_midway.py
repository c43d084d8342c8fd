"""A training that was stopped midway, and whose files were damaged before it goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgetfilter import pipeline
from forgetfilter.errors import Stopped
from forgetfilter.process import interrupts
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import merged, shard_paths


def train(run: Run) -> None:
    pipeline.run_stage(run, pipeline.BY_NAME["train-noisy"])


@pytest.fixture
def stopped(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose training of 8 steps was stopped after the fourth, with checkpoints and shards of steps 2 and 4."""
    run: Run = make_run("r")
    calls = iter(range(100))
    monkeypatch.setattr(interrupts, "requested", lambda: next(calls) == 4)
    with pytest.raises(Stopped):
        train(run)
    monkeypatch.setattr(interrupts, "requested", lambda: False)
    return run


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What the undisturbed training came to, once it was made."""
    return {}


def outcome(run: Run) -> tuple[bytes, list[int]]:
    lines = (run.model("noisy") / "metrics.jsonl").read_text().splitlines()
    weights = (run.model("noisy") / "adapter_model.safetensors").read_bytes()
    return weights, [int(json.loads(line)["step"]) for line in lines]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def unlist(folder: Path) -> None:
    for path in folder.glob("checkpoints/*/files.json"):
        path.unlink()


def exchange(folder: Path) -> None:
    first, second = (folder / "checkpoints" / f"checkpoint-{step}" / "optimizer.pt" for step in (2, 4))
    first.rename(folder / "aside")
    second.rename(first)
    (folder / "aside").rename(second)


NEWEST = "checkpoints/checkpoint-4"
# what is done to the training's folder, and what is said then
MENDED: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda folder: None, ""),
    "a line of metrics.jsonl is cut": (lambda folder: cut(folder / "metrics.jsonl"), ""),
    "an optimizer is lost": (lambda folder: (folder / NEWEST / "optimizer.pt").unlink(), "optimizer.pt is missing"),
    "weights are cut": (lambda folder: cut(folder / NEWEST / "adapter_model.safetensors"), "is not as it was written"),
    "optimizers are exchanged": (exchange, "optimizer.pt is not as it was written"),
    "the lists are lost": (unlist, "it has no list of its files"),
    "a folder is no checkpoint": (lambda folder: (folder / "checkpoints" / "checkpoint-old").mkdir(), ""),
}


@pytest.mark.parametrize("damage", MENDED)
def test_a_training_goes_on_to_the_same_end(
    stopped: Run, make_run: Any, expected: dict[str, Any], damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Whatever a checkpoint lacks, the training begins at the one before it, or anew, says so, and comes to the same
    # weights, steps and loss log.
    if not expected:
        train(run := make_run("whole"))
        expected["whole"] = outcome(run), merged(run.model("noisy") / "losses").drop("step")
    change, said = MENDED[damage]
    change(stopped.model("noisy"))
    capsys.readouterr()
    train(stopped)
    told = " ".join(capsys.readouterr().err.split())
    assert said in told and ("is not whole" in told) == bool(said)
    weights, steps = outcome(stopped)
    assert weights == expected["whole"][0][0]
    assert steps == ([1, 2, 3, 5, 6, 7, 8] if "metrics" in damage else [*range(1, 9)])
    assert merged(stopped.model("noisy") / "losses").drop("step").equals(expected["whole"][1])


@pytest.mark.parametrize("damage", ["lost", "cut", "emptied"])
def test_a_loss_log_that_lacks_a_shard_is_not_used(
    stopped: Run, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # The training ends, says what the log lacks and what to do, and the log has no marker, without which nothing reads
    # it.
    folder = stopped.model("noisy") / "losses"
    shard = shard_paths(folder)[0]
    {"lost": Path.unlink, "cut": cut, "emptied": lambda path: path.write_bytes(b"")}[damage](shard)
    train(stopped)
    told = " ".join(capsys.readouterr().err.split())
    assert f"{folder} is not whole and is not used" in told and "run again if a signal needs it" in told
    assert not (folder / "manifest.json").exists()
