"""Python runs ahead of a GPU: nothing in a step or a batch reads a value from the device.

All of it is done on torch's meta device, which has shapes and no values: whatever asks it for one is an error. So the
project's code, transformers, its Trainer, accelerate and peft are all looked at. Not looked at are kernels that only a
GPU has, and AdamW's fused one: its plain form stands for it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from forgetfilter.train.hook import LossLog
from forgetfilter.train.since_log import SinceLog
from forgetfilter.train.trainer import OneDevice, PlannedTrainer
from transformers import TrainerCallback

from forgetfilter.config.schema import LoraConfig
from forgetfilter.data.batches import MicroBatches, TrainingPlan, collate
from forgetfilter.models.example_losses import attach, read_tokens, to_device
from forgetfilter.models.rehearsal import Training, outline

META = torch.device("meta")
LENGTHS = np.array([5, 9, 4, 7, 6, 8] * 2)
STEPS = 2


class EndedError(Exception):
    """The steps are done; what follows them reads the loss."""


class End(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == STEPS:
            raise EndedError


def row(number: int) -> tuple[list[int], list[tuple[int, int]]]:
    length = int(LENGTHS[number])
    return [1] * length, [(2, 3), (length - 1, length)]


def trainer(model: Any, layout: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> PlannedTrainer:
    """One that trains on the meta device, with the loss log and the losses since the last log."""
    plan = TrainingPlan(LENGTHS, np.full(len(LENGTHS), 2), 0, 1, 4, 16, 1)
    batches = MicroBatches(plan, row, 0, layout, 0)
    names = pa.chunked_array([pa.array(["toy"] * len(LENGTHS))])
    recorders = [SinceLog(names), LossLog(folder / "losses", names, names)]
    attach(model, lambda losses: [recorder.record(losses) for recorder in recorders])
    given = OneDevice(
        str(folder), use_cpu=True, per_device_train_batch_size=1, gradient_accumulation_steps=plan.accumulation,
        num_train_epochs=1, logging_steps=100, logging_nan_inf_filter=False, save_strategy="no", report_to=[],
        disable_tqdm=True, remove_unused_columns=False, optim="adamw_torch",
    )  # fmt: skip
    assert plan.accumulation > 1 and plan.num_steps > STEPS and given.device.type == "cpu"
    monkeypatch.setattr(OneDevice, "device", META)
    made = PlannedTrainer(model, given, train_dataset=batches, callbacks=[*recorders, End()])
    for state in (PartialState, AcceleratorState):
        monkeypatch.setitem(state._shared_state, "device", META)
    return made


@pytest.mark.parametrize(("method", "attention", "checkpointing"), [("lora", "sdpa", True), ("full", "eager", False)])
def test_a_training_step_never_waits(
    method: str, attention: str, checkpointing: bool, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Steps of several packed micro-batches, with the hook, clipped gradients and the optimizer.
    lora = LoraConfig() if method == "lora" else None
    model: Any = outline(tiny_model, Training(lora, "bfloat16", None, attention, True, checkpointing))
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    with pytest.raises(EndedError):
        trainer(model, "rows", tmp_path, monkeypatch).train()


@pytest.mark.parametrize("layout", ["row", "rows"])
def test_a_scoring_batch_never_waits(layout: str, tiny_model: Path) -> None:
    # Neither for the losses of examples nor for those of tokens, whatever the batch: with several examples in a row, or
    # with one. What reads the result does wait, which shows that these tests can fail.
    model: Any = outline(tiny_model, Training(None, "bfloat16", None, "sdpa", True, False)).eval()
    attach(model, tokenwise=True)
    with torch.inference_mode():
        for numbers in ([0, 1, 2], [3]):
            batch = to_device(collate([row(number) for number in numbers], numbers, layout, 0), META)
            losses = model(**batch)["example_losses"]
            assert losses.loss_sum.is_meta and losses.tokens.shape == (2 * len(numbers),)
    with pytest.raises((RuntimeError, NotImplementedError), match=r"(?i)meta"):
        read_tokens(losses)


def test_padded_batches_wait_once(tiny_model: Path) -> None:
    # transformers looks whether their mask hides anything; no other layout has such a mask.
    model: Any = outline(tiny_model, Training(None, "bfloat16", None, "sdpa", False, False)).eval()
    attach(model)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="meta"):
        model(**to_device(collate([row(0), row(1)], [0, 1], "padded", 0), META))
