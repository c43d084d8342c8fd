"""A stopped finetuning goes on with another number of ranks; DeepSpeed's checkpoints are refused there."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from forgetfilter.train.checkpoints import resumable, seal
from forgetfilter.train.trainer import PlannedTrainer
from safetensors.torch import load_file

from forgetfilter import pipeline
from forgetfilter.config.load import load_config
from forgetfilter.errors import Stopped, UserError
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import World
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import merged

pytestmark = pytest.mark.usefixtures("forked_ranks")
LONG = (
    "train.noisy.epochs=8",
    "train.noisy.lr=5e-3",
    "train.checkpoint_steps=6",
    "train.micro_batch_tokens=64",
    "train.lora.dropout=0.0",
)
STAGE = pipeline.BY_NAME["train-noisy"]


@pytest.fixture
def make_run(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The runs of the other tests, long enough to be stopped, and without the noise that depends on the ranks."""
    monkeypatch.setattr(interrupts, "_received", [])
    return lambda name, *overrides: make_run(name, *LONG, *overrides)


def train(run: Run, ranks: int) -> None:
    pipeline.run_stage(Run(run.folder, load_config(run.folder / "config.yaml", [f"launch.processes={ranks}"])), STAGE)


def train_and_stop(run: Run, ranks: int) -> None:
    """The real signal, once a checkpoint is there."""

    def warn() -> None:
        checkpoints = run.model("noisy") / "checkpoints"
        while not any(checkpoints.glob("checkpoint-*/trainer_state.json")):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGUSR1)

    interrupts.install()
    threading.Thread(target=warn, daemon=True).start()
    with pytest.raises(Stopped):
        train(run, ranks)
    interrupts._received.clear()
    assert (run.model("noisy") / "checkpoints").exists()


@pytest.mark.parametrize(("method", "first", "then"), [("lora", 1, 2), ("full", 2, 1), ("qlora", 2, 1)])
def test_any_number_of_ranks_goes_on(make_run: Any, method: str, first: int, then: int) -> None:
    # The weights (1e-4) and losses (1e-3) are those of the undisturbed run, as close as two ranks and one are without a
    # stop. Every id is there once an epoch, and the steps before the stop are not done again.
    whole, run = make_run("whole", f"train.method={method}"), make_run("stopped", f"train.method={method}")
    train(whole, 1)
    train_and_stop(run, first)
    logs = set((run.model("noisy") / "losses").glob("rank=*/*.parquet"))
    times = {path: path.stat().st_mtime_ns for path in logs}
    train(run, then)
    assert times and all(path.stat().st_mtime_ns == written for path, written in times.items())
    assert_same(whole, run, method, 1e-4)


def assert_same(whole: Run, run: Run, method: str, tolerance: float) -> None:
    """Every id once an epoch, with the other run's losses; and its weights."""
    ids = [json.loads(line)["id"] for line in run.noisy_data.read_text().splitlines()]
    losses = [merged(one.model("noisy") / "losses", ids) for one in (whole, run)]
    assert losses[1].height == 8 * len(ids)
    assert losses[1]["loss_sum"].to_list() == pytest.approx(losses[0]["loss_sum"].to_list(), rel=10 * tolerance)
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    weights = [load_file(one.model("noisy") / name) for one in (whole, run)]
    assert all(torch.allclose(weights[0][key], weights[1][key], rtol=0, atol=tolerance) for key in weights[0])


ZERO = [(method, f"zero{stage}") for stage in range(4) for method in ("full", "lora", "qlora")]
CHOSEN = [("full", "zero2"), ("lora", "zero3")]


@pytest.mark.parametrize(("method", "zero"), ZERO if os.environ.get("FORGETFILTER_ALL_FAULTS") else CHOSEN)
def test_deepspeed_goes_on_with_as_many_ranks_only(
    make_run: Any, capfd: pytest.CaptureFixture[str], method: str, zero: str
) -> None:
    # Two ranks are stopped. One rank is refused in one line, and two end with the undisturbed run's weights and losses.
    options = [f"train.method={method}", f"train.deepspeed={zero}"]
    options += ["model.dtype=bfloat16"] if method == "qlora" else []
    whole, run = make_run("whole", *options), make_run("stopped", *options)
    train(whole, 2)
    train_and_stop(run, 2)
    capfd.readouterr()
    with pytest.raises(UserError):
        train(run, 1)
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("forgetfilter: ")]
    assert len(told) == 1 and "DeepSpeed's of 2 ranks, which 1 cannot read: go on with 2 ranks" in told[0]
    train(run, 2)
    assert_same(whole, run, method, 0)


def test_deepspeeds_checkpoint_is_refused_to_another_number_of_ranks(tmp_path: Path) -> None:
    # One line names both ways out. The same number of ranks resumes, and so do runs without DeepSpeed.
    assert resumable(tmp_path, World(0, 2, 0), True) is None
    for step, state in (("2", "{}"), ("4", '{"cut": ')):  # the newer one is not whole
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    seal(tmp_path / "checkpoint-2", World(0, 1, 0))
    with pytest.raises(UserError, match=r"DeepSpeed's of 2 ranks, which 3 cannot read: go on with 2 ranks, or delete"):
        resumable(tmp_path, World(0, 3, 0), True)
    for world, deepspeed in ((World(0, 2, 0), True), (World(0, 3, 0), False)):
        assert resumable(tmp_path, world, deepspeed) == str(tmp_path / "checkpoint-2")


def test_a_kill_before_the_end_is_recorded_costs_no_step(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # All steps are done and the model is saved, but the stage is not recorded as done. The same command takes no step
    # again, ends with the undisturbed run's weights and losses, and leaves no checkpoints behind.
    whole, run = make_run("whole"), make_run("killed")
    train(whole, 1)

    class Killed(BaseException):
        pass

    def record(run: Run, name: str, entry: dict[str, Any]) -> None:
        if entry["status"] != "running":
            raise Killed
        original(run, name, entry)

    original = Run._set
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Run, "_set", record)
        train(run, 1)
    assert run.state()["train-noisy"]["status"] == "running"
    monkeypatch.setattr(PlannedTrainer, "training_step", None)  # a step would fail
    train(run, 1)
    assert run.state()["train-noisy"]["status"] == "done" and not (run.model("noisy") / "checkpoints").exists()
    assert_same(whole, run, "lora", 0)
