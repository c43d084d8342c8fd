"""transformers.Trainer with the project's data order and normalisation; nothing else is changed."""

import json
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from forgetfilter.data.batches import MicroBatches
from forgetfilter.errors import UserError
from forgetfilter.files import read_json, write_json
from forgetfilter.models.example_losses import to_device
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import World
from forgetfilter.process.progress import Meter
from forgetfilter.process.tracking import Tracker


class PlannedTrainer(Trainer):
    """Takes its micro-batches from a plan that is a pure function of seed, epoch and position.

    The whole training is one pass over that plan, so resuming skips exactly the micro-batches that were done.
    The loss comes normalised by the label tokens of its whole optimizer step; multiplied by the number of ranks
    because gradients are averaged over them.
    """

    loss_is_scaled_for_ga = True

    def get_train_dataloader(self) -> DataLoader[Any]:
        assert isinstance(self.train_dataset, MicroBatches)
        # batch size 1 with a collator that unwraps it: accelerate can then skip what a resumed run has done
        pinned = self.args.device.type == "cuda"  # from other memory a copy waits for the GPU
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=_only, pin_memory=pinned)

    def _prepare_inputs(self, inputs: Any) -> Any:
        # not transformers' own, which waits for the copy and under DeepSpeed rounds the loss's normaliser to bfloat16
        return to_device(inputs, self.args.device)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(**inputs)
        loss = outputs["loss"] * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss


def _only(batches: list[Any]) -> Any:
    return batches[0]


class Watch(TrainerCallback):
    """Progress, metrics.jsonl and W&B on rank 0; and the signal that stops all ranks at the same step."""

    def __init__(self, meter: Meter, tracker: Tracker, metrics: Path):
        self.meter, self.tracker, self.metrics = meter, tracker, metrics
        self.stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.meter.begin_at(state.global_step)
        if state.is_world_process_zero and self.metrics.exists():  # steps that are done again log again
            lines = self.metrics.read_text().splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= state.global_step]
            self.metrics.write_text("".join(line + "\n" for line in kept))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.meter.advance()
        if interrupts.requested():
            self.stopped = state.global_step < state.max_steps
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs: dict[str, float] = kwargs["logs"]
        if state.is_world_process_zero and "loss" in logs:
            values = {"loss": logs["loss"], "lr": logs["learning_rate"], "grad_norm": logs.get("grad_norm")}
            with open(self.metrics, "a") as handle:
                handle.write(json.dumps({"step": state.global_step} | values) + "\n")
            self.tracker.log(values, step=state.global_step)


def resumable(folder: Path, world: World, deepspeed: bool) -> str | None:
    """The checkpoint to go on from, None without one.

    Steps do not depend on the number of ranks, so any number goes on from a checkpoint; but DeepSpeed's is in as many
    parts as there were ranks, and only as many read it: UserError for another number. Rank 0 notes who writes.
    """
    checkpoint, note = last_checkpoint(folder), folder / "world.json"
    if deepspeed and checkpoint and note.exists() and (written := read_json(note)["world_size"]) != world.size:
        raise UserError(
            f"{folder} is DeepSpeed's of {written} ranks, which {world.size} cannot read: go on with {written} ranks, "
            "or delete that folder to start the stage anew"
        )
    if world.is_main:
        write_json(note, {"world_size": world.size})
    return checkpoint


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint: the trainer's state is what it writes last."""
    whole = [path for path in folder.glob("checkpoint-*") if _is_json(path / "trainer_state.json")]
    return str(max(whole, key=lambda p: int(p.name.split("-")[1]))) if whole else None


def _is_json(path: Path) -> bool:
    """Whether the file is there and whole: a full disk cuts it short."""
    try:
        json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return True


class OneDevice(TrainingArguments):
    """A process trains on one GPU: where it sees several, transformers would spread each micro-batch over them."""

    @property
    def n_gpu(self) -> int:
        return min(1, int(super().n_gpu))


def arguments(
    folder: Path,
    schedule: Any,
    seed: int,
    accumulation: int,
    num_steps: int,
    checkpoint_steps: int,
    gradient_checkpointing: bool,
    precision: str | None,
    deepspeed: dict[str, Any] | None,
    use_cpu: bool,
    world_size: int,
) -> TrainingArguments:
    """The Trainer's arguments; `precision` is bf16, fp16 or None (no autocast)."""
    return OneDevice(
        output_dir=str(folder),
        per_device_train_batch_size=1,  # micro-batches come ready from the plan
        gradient_accumulation_steps=accumulation,
        num_train_epochs=1,
        learning_rate=schedule.lr,
        lr_scheduler_type=schedule.schedule,
        warmup_steps=round(schedule.warmup_share * num_steps),
        weight_decay=schedule.weight_decay,
        max_grad_norm=schedule.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        gradient_checkpointing=gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if gradient_checkpointing else None,
        logging_steps=max(1, min(10, num_steps // 20)),
        logging_nan_inf_filter=False,  # it waits for the GPU in every step; the loss log finds NaN itself
        save_strategy="steps" if checkpoint_steps else "no",
        save_steps=checkpoint_steps or 1,
        save_total_limit=2,
        seed=seed,
        data_seed=seed,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        deepspeed=deepspeed,
        use_cpu=use_cpu,
        ddp_backend="gloo" if use_cpu and world_size > 1 else None,
        ddp_find_unused_parameters=False,
    )
