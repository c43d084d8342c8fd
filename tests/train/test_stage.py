"""Real finetunings of a tiny model: one process, two gloo ranks, DeepSpeed ZeRO-2 and 3, QLoRA, stop and resume."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from forgetfilter.train import zero
from safetensors.torch import load_file

from forgetfilter import pipeline
from forgetfilter.config.load import load_config
from forgetfilter.config.schema import ScheduleConfig
from forgetfilter.errors import Stopped, UserError
from forgetfilter.models import ceiling
from forgetfilter.models.loading import States, resolve
from forgetfilter.models.loss_pass import score_encoded
from forgetfilter.models.numerics import Numerics
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import World
from forgetfilter.score.parts import Scorer
from forgetfilter.score.stage import settings
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import merged, scan_shards, shard_paths

pytestmark = pytest.mark.usefixtures("forked_ranks")


def train(run: Run) -> Run:
    stage = pipeline.BY_NAME["train-noisy"]
    pipeline.run_stage(run, stage)
    return run


@pytest.fixture(scope="module")
def plain(make_shared: Any) -> Run:
    """The run of one process without DeepSpeed and without dropout."""
    return train(make_shared("plain", "train.lora.dropout=0"))


@pytest.fixture(scope="module")
def plain_distances(plain: Run) -> list[float]:
    distances = gradient_distances(plain)
    assert max(distances) > 0.1
    return distances


def logged(run: Run) -> Any:
    """The loss log, with the proof that each id is there once an epoch."""
    ids = [json.loads(line)["id"] for line in run.noisy_data.read_text().splitlines()]
    frame = merged(run.model("noisy") / "losses", ids)
    assert frame.height == 2 * len(ids)
    return frame


def adapter(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.model("noisy") / "adapter_model.safetensors")


def close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], tolerance: float) -> bool:
    return first.keys() == second.keys() and all(
        torch.allclose(first[key].float(), second[key].float(), atol=tolerance) for key in first
    )


def test_lora_learns_logs_and_leaves_only_safetensors(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second epoch's losses are lower, metrics.jsonl holds the mean loss of each step, and no pickle comes out. The
    # stage's record has the tokens of both epochs, and the padding of the rows that they were packed into,
    # and each line has the share of a device's ceiling that the operations of its step are.
    monkeypatch.setattr(ceiling, "LEAST", 1)
    monkeypatch.setattr(ceiling, "ceiling", lambda *_: 1e13)
    run = train(make_run("one"))
    frame = logged(run)
    sums = frame.group_by("epoch").agg(pl.col("loss_sum").sum())
    first, second = sums.sort("epoch")["loss_sum"].to_list()
    assert second < first
    steps = [json.loads(line) for line in (run.model("noisy") / "metrics.jsonl").read_text().splitlines()]
    for entry in steps:
        rows = frame.filter(frame["step"] == entry["step"])
        assert entry["loss"] == pytest.approx(rows["loss_sum"].sum() / rows["num_tokens"].sum(), rel=1e-4)
        assert entry["tokens_per_second"] > 0 and 0 <= entry["ceiling_share"] < 1
    assert len(steps) == 8
    told = run.state()["train-noisy"]["passes"]["train noisy"]
    lengths = Scorer(settings(run), World(0, 1, 0)).prepared.lengths()
    assert told["tokens"] == 2 * lengths.sum() == told["positions"] - told["padding"] and told["whole"]
    assert 0 < told["data_seconds"] + told["log_seconds"] < told["seconds"]
    assert told["ceiling"] == 1e13 and told["operations"] > 2 * 2 * 10_000 * told["tokens"]  # of the tiny model
    assert not [p for p in run.model("noisy").rglob("*") if p.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_any_number_of_ranks_takes_the_same_steps(make_run: Any, plain: Run, real_ranks: None) -> None:
    # Two gloo ranks train the adapter that one process trains and log the same losses, up to rounding, because
    # gradients are added in another order. With 14 rows in steps of 4 the last step has fewer rows than micro-batches.
    # Together they have counted its tokens.
    two = make_run("two", "train.lora.dropout=0")
    two = train(Run(two.folder, load_config(two.folder / "config.yaml", ["launch.processes=2"])))
    assert close(adapter(plain), adapter(two), 1e-4)
    assert logged(two)["loss_sum"].to_list() == pytest.approx(logged(plain)["loss_sum"].to_list(), rel=1e-3)
    assert len({path.parent.name for path in shard_paths(two.model("noisy") / "losses")}) == 2
    alone, both = (run.state()["train-noisy"]["passes"]["train noisy"] for run in (plain, two))
    assert both["ranks"] == 2 and both["tokens"] == alone["tokens"] == both["positions"] - both["padding"]


def gradient_distances(run: Run) -> list[float]:
    """The score stage's gradients of the noisy rows against two of them, by the adapter that was saved."""
    lines = run.noisy_data.read_text().splitlines(keepends=True)
    run.safe_data.write_text("".join(lines[3:5]))
    part = Scorer(settings(run), World(0, 1, 0)).gradients()
    part.make()
    found = scan_shards(part.folder).sort("id").collect()
    near = found.filter(found["id"].is_in([json.loads(line)["id"] for line in lines[3:5]]))
    assert len(found) == len(lines) and near["gradient_distance"].to_list() == pytest.approx([0, 0], abs=2e-3)
    return [float(value) for value in found["gradient_distance"]]


@pytest.mark.parametrize("zero", ["zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload"])
def test_deepspeed_trains_as_one_process_does(
    make_run: Any, plain: Run, plain_distances: list[float], zero: str
) -> None:
    # Real DeepSpeed over two gloo ranks in float32 gives the same losses (1e-3) and adapter (1e-3) as one process
    # without it, and so the gradients by which the scoring compares the rows.
    sharded = train(make_run(zero, "train.lora.dropout=0", f"train.deepspeed={zero}", "launch.processes=2"))
    assert logged(sharded)["loss_sum"].to_list() == pytest.approx(logged(plain)["loss_sum"].to_list(), rel=1e-3)
    assert close(adapter(plain), adapter(sharded), 1e-3)
    assert gradient_distances(sharded) == pytest.approx(plain_distances, abs=2e-2)


@pytest.mark.parametrize("zero", [[], ["train.deepspeed=zero3", "launch.processes=2"]])
def test_gradient_checkpointing_changes_no_loss(make_run: Any, plain: Run, zero: list[str]) -> None:
    # Activations that are computed again give the same losses and adapter as stored ones, under ZeRO-3 too.
    again = train(make_run("again", "train.lora.dropout=0", "train.gradient_checkpointing=true", *zero))
    assert logged(again)["loss_sum"].to_list() == pytest.approx(logged(plain)["loss_sum"].to_list(), rel=1e-3)
    assert close(adapter(plain), adapter(again), 1e-3)


def test_full_finetuning_under_zero3_gives_a_whole_model(make_run: Any, tmp_path: Path) -> None:
    # After bfloat16 training under ZeRO-3 over two ranks, the result loads as an ordinary model and has learned. A file
    # of one's own that does not say whether the weights are gathered is the same as the name zero3.
    from transformers import AutoModelForCausalLM

    own, schedule = tmp_path / "own.json", ScheduleConfig()
    named = zero.settings("zero3", "full", "noisy", schedule)
    quiet = {key: value for key, value in named["zero_optimization"].items() if key != zero.GATHER}
    own.write_text(json.dumps(named | {"zero_optimization": quiet}))
    assert zero.settings(str(own), "full", "noisy", schedule) == named
    full = ("train.method=full", "model.dtype=bfloat16", f"train.deepspeed={own}", "launch.processes=2")
    run = train(make_run("full", *full))
    weights, base = (
        load_file(folder / "model.safetensors") for folder in (run.model("noisy"), Path(run.config.model.name))
    )
    assert {name: part.shape for name, part in weights.items()} == {name: part.shape for name, part in base.items()}
    model = AutoModelForCausalLM.from_pretrained(run.model("noisy"))
    assert model.get_output_embeddings().weight.shape[0] == model.config.vocab_size
    sums = logged(run).group_by("epoch").agg(pl.col("loss_sum").sum()).sort("epoch")["loss_sum"].to_list()
    assert sums[1] < sums[0]


@pytest.mark.parametrize("zero", ["zero2", "zero3"])
def test_qlora_trains_under_deepspeed(make_run: Any, wide_model: Path, zero: str) -> None:
    # With a 4-bit base and DeepSpeed over two gloo ranks the adapter learns, each example is logged once an epoch, and
    # the adapter gives gradients on the 4-bit base.
    options = ["train.method=qlora", "model.dtype=bfloat16", f"train.deepspeed={zero}", "launch.processes=2"]
    run = train(make_run("qlora", *options, f"model.name={wide_model}"))
    sums = logged(run).group_by("epoch").agg(pl.col("loss_sum").sum()).sort("epoch")["loss_sum"].to_list()
    assert sums[1] < sums[0]
    assert max(gradient_distances(run)) > 0.1


def test_qlora_trains_and_measures_a_four_bit_base(make_run: Any, wide_model: Path) -> None:
    # With nf4 and double quantisation the adapter learns, only the adapter is saved, and it is measured on the 4-bit
    # base.
    run = train(make_run("qlora", "train.method=qlora", "model.dtype=bfloat16", f"model.name={wide_model}"))
    sums = logged(run).group_by("epoch").agg(pl.col("loss_sum").sum()).sort("epoch")["loss_sum"].to_list()
    assert sums[1] < sums[0]
    assert (run.model("noisy") / "adapter_model.safetensors").exists()
    assert not (run.model("noisy") / "model.safetensors").exists()
    base = resolve(run.config.model.name, None, Path(run.config.cache))
    with States(base, Numerics("bfloat16", "sdpa", torch.device("cpu"), four_bit=True)).use(
        run.model("noisy")
    ) as model:
        assert any(type(module).__name__ == "Linear4bit" for module in model.modules())
        loss_sum, num_tokens = score_encoded(model, [([5, 6, 7, 8], [(2, 4)])], 64, torch.device("cpu"))
    assert num_tokens.tolist() == [2] and 0 < loss_sum[0] < 40
    assert max(gradient_distances(run)) > 0.1


def test_a_stopped_training_resumes_to_the_same_result(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Training is stopped by the flag after step 3 of 8 and run again: weights and log equal the undisturbed run's
    # exactly (with dropout, so the random state is restored too), and every id is there once an epoch. The record has
    # the tokens of the last part, and says that it is no more than a part.
    whole = train(make_run("whole"))
    run = make_run("stopped")
    calls = iter(range(100))
    monkeypatch.setattr(interrupts, "requested", lambda: next(calls) == 2)
    with pytest.raises(Stopped):
        train(run)
    assert run.state()["train-noisy"]["status"] == "stopped"
    monkeypatch.setattr(interrupts, "requested", lambda: False)
    train(run)
    assert close(adapter(whole), adapter(run), 0)
    assert logged(run).equals(logged(whole))
    lines = (run.model("noisy") / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 9))
    all_of_it, part = (one.state()["train-noisy"]["passes"]["train noisy"] for one in (whole, run))
    assert 0 < part["tokens"] < all_of_it["tokens"] and not part["whole"]


def test_a_kill_loses_only_the_work_since_the_last_checkpoint(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A crash at step 6 leaves the checkpoint of step 4; the log's shards of steps 5 and 6 are made again.
    whole = train(make_run("whole"))
    run = make_run("killed")
    calls = iter(range(100))

    def crash() -> bool:
        if next(calls) == 5:
            raise RuntimeError("power failure")
        return False

    monkeypatch.setattr(interrupts, "requested", crash)
    with pytest.raises(RuntimeError):
        train(run)
    monkeypatch.setattr(interrupts, "requested", lambda: False)
    train(run)
    assert close(adapter(whole), adapter(run), 0)
    assert logged(run).equals(logged(whole))


def test_changed_settings_start_the_stage_anew(make_run: Any) -> None:
    # Another learning rate removes the old result first; the same one skips the stage.
    run = train(make_run("again"))
    before = (run.model("noisy") / "adapter_model.safetensors").stat().st_mtime_ns
    train(run)
    assert (run.model("noisy") / "adapter_model.safetensors").stat().st_mtime_ns == before
    train(Run(run.folder, load_config(run.folder / "config.yaml", ["train.noisy.lr=2e-2"])))
    assert (run.model("noisy") / "adapter_model.safetensors").stat().st_mtime_ns != before


def test_a_chat_template_counts_by_what_it_says(make_run: Any, tmp_path: Path) -> None:
    # A template that is moved keeps the stage done, and one that is edited does not. One that is missing is named with
    # its key.
    run, place = make_run("template"), tmp_path / "one.jinja"
    stage = pipeline.BY_NAME["train-noisy"]

    def inputs(template: Path) -> Any:
        config = load_config(run.folder / "config.yaml", [f"model.chat_template={template}"])
        return stage.task(Run(run.folder, config)).inputs()

    place.write_text("{{ messages }}")
    first, moved = inputs(place), inputs(shutil.copy(place, tmp_path / "two.jinja"))
    place.write_text("{{ messages }}!")
    assert first == moved != inputs(place)
    with pytest.raises(UserError, match=r"model.chat_template: .*absent is missing"):
        inputs(tmp_path / "absent")


def test_wrong_layer_names_are_told_with_the_models_own(make_run: Any) -> None:
    # One line names the key and the layers that there are.
    run = make_run("layers", "train.lora.target_modules=[query]")
    with pytest.raises(UserError, match=r"train\.lora\.target_modules: query not in the model; its layers: .*q_proj"):
        train(run)
    shutil.rmtree(run.folder)
