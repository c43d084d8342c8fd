"""The plan of a pipeline: operations and bytes by hand, and the command on a model without weights."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forgetfilter.cli import main
from forgetfilter.cli.plan import estimate
from forgetfilter.config.load import load_config
from forgetfilter.errors import UserError
from forgetfilter.models.example_losses import attach
from forgetfilter.models.memory import Held
from forgetfilter.models.plan import probe, table
from forgetfilter.models.plan.costs import (
    Shape,
    forward_operations,
    sent_bytes,
    training_operations,
    useful_operations,
)
from forgetfilter.models.plan.estimate import Given
from forgetfilter.storage.run_folder import Run

SHAPE = Shape(multiplied=1000, head=50, attended=10)
LENGTHS, LABELS = np.array([4, 6]), np.array([1, 2])


def test_operations_are_golden() -> None:
    # A forward pass has 2 * 1000 * 10 operations for the tokens, 2 * 10 * (16 + 36) of attention and 2 * 50 * 3 for the
    # label tokens; training adds one or two backward passes.
    body, head = 20_000 + 1_040, 300
    assert forward_operations(SHAPE, LENGTHS, LABELS) == body + head
    assert training_operations(SHAPE, LENGTHS, LABELS, full=True, checkpointing=False) == 3 * body + 4 * head
    assert training_operations(SHAPE, LENGTHS, LABELS, full=False, checkpointing=True) == 3 * body + 3 * head


def test_layers_with_a_window_see_no_more_than_it() -> None:
    # With half of the 10 compared numbers in layers of a window of 3: a row of 4 has 16 pairs in full (twice the half
    # that is seen) and 3 * (8 - 3) = 15 in the window, a row of 6 has 36 and 27. Shorter rows cost what they cost.
    windowed = replace(SHAPE, windowed=5, window=3)
    assert forward_operations(windowed, LENGTHS, LABELS) == 20_000 + 2 * 5 * (16 + 36 + 15 + 27) + 300
    short = np.array([3, 2]), np.array([1, 1])
    assert forward_operations(windowed, *short) == forward_operations(SHAPE, *short)


def test_useful_operations_leave_out_what_is_computed_again() -> None:
    # Three passes in full and two with adapters, each with the output layer once: so the share of a ceiling counts.
    forward = forward_operations(SHAPE, LENGTHS, LABELS)
    assert useful_operations(SHAPE, LENGTHS, LABELS, full=True) == 3 * forward
    assert useful_operations(SHAPE, LENGTHS, LABELS, full=False) == 2 * forward


def test_sent_bytes_are_golden() -> None:
    # 12 bytes of gradients and 36 of weights lie on 4 ranks, so three quarters of them go to others, as often as the
    # stage of ZeRO needs.
    alone = Held(24, 12, 12, 0, 0, 0)
    assert sent_bytes(alone, 0, 1, 5, False) == 0
    assert [sent_bytes(alone, stage, 4, 5, False) for stage in (0, 1, 2)] == [18, 18, 18]
    assert sent_bytes(alone, 3, 4, 5, False) == 0.75 * 5 * (2 * 36 + 12)
    assert sent_bytes(alone, 3, 4, 5, True) == 0.75 * 5 * (3 * 36 + 12)


def config(folder: Path, model: Path, **more: Any) -> Path:
    """Twelve noisy rows and four safe ones."""
    for name, rows in (("noisy", 12), ("safe", 4)):
        lines = (json.dumps({"prompt": f"the cat {n}", "completion": f"{name} mat {n}"}) for n in range(rows))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    sets = {name: {name: {"path": str(folder / f"{name}.jsonl")}} for name in ("noisy", "safe")}
    written = {"name": "toy", "output": str(folder / "runs"), "cache": str(folder / "cache"), "data": sets}
    written |= {"model": {"name": str(model)}, "tracking": {"mode": "disabled"}}
    (folder / "toy.yaml").write_text(json.dumps(written | more))
    return folder / "toy.yaml"


def planned(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    with pytest.raises(SystemExit) as ended:
        main(["plan", *map(str, words)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_command_plans_from_the_data(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The plan has the rows and tokens of the real files and three epochs, finds that a GPU of 80 GB is enough, and
    # leaves nothing behind.
    path = config(tmp_path, tiny_model)
    code, out, _ = planned(capsys, path, "--json", "--flops", "1e12")
    found = json.loads(out)
    assert code == 0 and not (tmp_path / "runs").exists()
    assert [(stage["name"], stage["rows"]) for stage in found["stages"]] == [
        ("train noisy", 12),
        ("train safe", 4),
        ("train refit", 16),
        ("score", 12),
    ]
    noisy, safe, refit, score = found["stages"]
    assert noisy["tokens"] == 3 * score["tokens"] / 2 and (noisy["steps"], refit["steps"]) == (3, 3)
    assert refit["tokens"] == noisy["tokens"] + safe["tokens"]  # the safe set is learned too, by default
    assert noisy["hours"] == pytest.approx(noisy["operations"] / 0.4e12 / 3600)
    assert noisy["memory_bytes"] == sum(noisy["memory"].values()) < found["cpu_process_bytes"]
    assert [row["gpus"] for row in found["gpus"]] == [2**n for n in range(11)]
    assert [row["idle"] for row in found["gpus"]] == [n > 4 for n in range(11)]
    assert found["fewest_gpus"]["0"] == 1 and not found["unchecked"]


@pytest.mark.parametrize(
    ("data", "tokens", "steps", "rows"),
    [
        ("kept", 3 * 1000, 3, 100),
        ("kept_and_trusted", 3 * 1400, 6, 140),
        ("kept_then_trusted", 3 * 1000 + 5 * 400, 8, 140),
    ],
)
def test_the_refit_is_planned_with_the_rows_that_it_may_learn(
    data: str, tokens: int, steps: int, rows: int, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of 100 noisy rows and 40 safe ones of 10 tokens each, in steps of 100 rows: three epochs of the noisy rows alone
    # or with the safe ones, or five more of the safe ones after them.
    words = ("--rows", "100", "--safe-rows", "40", "--tokens-per-row", "10", "--json", f"train.refit.data={data}")
    sizes = ("train.refit.epochs=3", "train.refit.batch_size=100", "train.refit.trusted_epochs=5")
    code, out, _ = planned(capsys, config(tmp_path, tiny_model), *words, *sizes)
    refit = json.loads(out)["stages"][2]
    assert code == 0 and (refit["tokens"], refit["steps"], refit["rows"]) == (tokens, steps, rows)


def test_a_model_without_weights_is_planned_from_given_rows(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # config.json alone is enough for a plan of given rows, which says what was not checked, in tables of at most 80
    # columns.
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "config.json").write_text((tiny_model / "config.json").read_text())
    path = config(tmp_path, alone)
    monkeypatch.setenv("COLUMNS", "80")
    words = ("--rows", "1000", "--tokens-per-row", "100", "--tokens-per-second", "1000", "train.method=full")
    code, out, _ = planned(capsys, path, *words)
    assert code == 0 and max(map(len, out.splitlines())) <= 80
    assert "train noisy" in out and "300,000" in out and "5.0 min" in out  # 3 epochs at 1,000 tokens/s
    assert "has no weights, so what needs them was not checked" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rows", "5"), "--rows needs --tokens-per-row"),
        (("--gpu-memory", "0.0001", "--reserved", "0"), "each rank needs about .* MB of memory to score"),
        (("--gpu-memory", "-1"), "argument --gpu-memory: must be a positive number, got '-1'"),
        (("--flops", "1e12", "--measure"), "not allowed with argument"),
        (("train.deepspeed=zero9",), "train.deepspeed: 'zero9' is no file"),
        (("model.name=./nowhere",), "model.name: './nowhere' is neither a local folder nor to be had"),
    ],
)
def test_what_cannot_work_is_one_line(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    # The exit code is 2 and the line names the option or the key.
    import re

    code, _, err = planned(capsys, config(tmp_path, tiny_model), *words)
    assert code == 2 and re.search(said, err), err


def test_a_run_that_cannot_fit_stops_before_it_trains(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a machine of 0.1 MB one line says what is needed and what there is; with ample memory nothing needs to be
    # planned.
    from forgetfilter import pipeline
    from forgetfilter.config.load import load_config
    from forgetfilter.models.plan import estimate

    run = Run.create(load_config(config(tmp_path, tiny_model)))
    pipeline.run_stage(run, pipeline.BY_NAME["mix"])
    monkeypatch.setattr(estimate, "machine_bytes", lambda processes: 1e5)
    with pytest.raises(UserError, match=r"each rank needs about .* MB of memory to score.* has 0\.1 MB"):
        estimate.check_memory(run.config, run)
    monkeypatch.setattr(estimate, "machine_bytes", lambda processes: 16e9)
    monkeypatch.setattr(estimate, "planned", None)
    estimate.check_memory(run.config, run)


def test_on_a_gpu_auto_must_hold_the_longest_row_alone(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By auto only the longest row must fit, fixed numbers must fit with their batches, and a plan of memory refuses no
    # training that DeepSpeed offloads.
    from forgetfilter import pipeline
    from forgetfilter.config.load import load_config
    from forgetfilter.models.plan import estimate

    run = Run.create(load_config(config(tmp_path, tiny_model)))
    pipeline.run_stage(run, pipeline.BY_NAME["mix"])
    seen = []
    monkeypatch.setattr(estimate, "check_fits", lambda planner, ranks, zero: seen.append(planner))
    for settings in ((), ("train.micro_batch_tokens=64", "data.batch_tokens=128"), ("train.deepspeed=zero3_offload",)):
        changed = load_config(run.folder / "config.yaml", settings, own=True)
        estimate.check_here(changed, run, 1e9, "bfloat16", gpu=True)
    longest = int(seen[0].sets["noisy"].lengths.max())
    tokens = [(one.micro_batch_tokens, one.batch_tokens) for one in seen]
    assert tokens == [(longest, longest), (64, 128), (4096, longest)]
    assert [one.method.offload for one in seen] == [False, False, True] and seen[0].method.item == 2
    monkeypatch.undo()
    with pytest.raises(UserError, match="to score"):
        estimate.check_fits(replace(seen[2], machine=replace(seen[2].machine, gpu_gb=1e-6)), 1, 3)
    large = [replace(one, step=replace(one.step, saved=10**18, peak=10**18)) for one in seen]
    estimate.check_fits(large[2], 1, 3)
    with pytest.raises(UserError, match="to train"):
        estimate.check_fits(large[0], 1, 0)


def test_times_and_numbers_read_well() -> None:
    # Times and numbers have about three digits and a unit.
    assert [table.time(hours) for hours in (None, 0.002, 0.2, 5.25, 30, 96)] == [
        "–",
        "7.2 s",
        "12.0 min",
        "5.2 h",
        "30.0 h",
        "4.0 d",
    ]
    assert [table.number(n) for n in (0.42, 7, 412, 8300, 2.4e6, 6.74e9)] == [
        "0.42",
        "7",
        "412",
        "8,300",
        "2.4 M",
        "6.74 bn",
    ]


def test_measured_times_have_the_updates_of_whole_steps(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By a clock that a forward pass moves by a second and an update by ten: seven micro-batches are measured, and as
    # many updates as they are steps.
    from transformers import LlamaForCausalLM

    path = config(tmp_path, tiny_model, train={"micro_batch_tokens": 64, "noisy": {"batch_size": 12}})
    given = Given(80.0, 2.0, 50.0, None, 0, None, None, None, 0.4, False)
    planner = estimate(load_config(path), given).planner
    clock = [0.0]

    def passes(seconds: float) -> Any:
        return lambda *_: clock.__setitem__(0, clock[0] + seconds)

    model = LlamaForCausalLM.from_pretrained(tiny_model)
    attach(model)
    model.register_forward_pre_hook(passes(1.0))
    monkeypatch.setattr(torch.optim.AdamW, "step", passes(10.0))
    monkeypatch.setattr(probe.time, "perf_counter", lambda: clock[0])
    rate = probe._training(planner, model, "rows", nullcontext())
    plan, noisy = planner.training_plan("noisy", 1), planner.sets["noisy"]
    assert plan.accumulation > 1
    chosen = [plan.micro_batch(0, number) for number in range(7)]
    done = sum(training_operations(planner.shape, noisy.lengths[r], noisy.labels[r], False, False) for r in chosen)
    assert rate == pytest.approx(done / (7 + 10 * 7 / plan.accumulation))
