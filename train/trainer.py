"""transformers.Trainer with the project's order of the data and its normalisation of the loss."""

import json
import time
from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.optimization import get_scheduler

from forgetfilter.data.batches import MicroBatches, TrainingPlan
from forgetfilter.files import write_text
from forgetfilter.models.ceiling import Arithmetic
from forgetfilter.models.example_losses import to_device
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import World
from forgetfilter.process.passes import count_batch, making_data, share_of_ceiling
from forgetfilter.process.progress import Meter
from forgetfilter.process.tracking import Tracker

from .memory import Room, redone
from .optimizer import has_half, with_masters
from .since_log import SinceLog
from .stage import Finetuning
from .zero import settings as deepspeed_settings

Args = TrainingArguments
OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_8bit", "adafactor": "adafactor"}  # in transformers
Batch = dict[str, Any]  # the arguments of a forward pass: tensors, and plain numbers for attention kernels


class PlannedTrainer(Trainer):
    """Takes its micro-batches from a plan that is a pure function of seed, epoch and position.

    The whole training is one pass over that plan, so a resume skips exactly the micro-batches that were done. The loss
    is already normalised by the label tokens of its whole optimizer step. It is multiplied by the number of ranks,
    because gradients are averaged over them.
    """

    loss_is_scaled_for_ga = True
    forget_step: Callable[[], None] = staticmethod(lambda: None)
    """Called when a step is begun again, for what has recorded a part of it."""
    _begun: tuple[int, list[Batch]] = (-1, [])
    """The step, and those of its micro-batches that are done or being done."""

    def get_train_dataloader(self) -> DataLoader[Batch]:
        assert isinstance(self.train_dataset, MicroBatches)
        # With batch size 1 and a collator that unwraps it, accelerate can skip what a resumed run has done.
        pinned = self.args.device.type == "cuda"  # a copy from memory that is not pinned waits for the GPU
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=_only, pin_memory=pinned)

    def get_batch_samples(self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device) -> Any:
        with making_data():
            return super().get_batch_samples(epoch_iterator, num_batches, device)

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        # transformers' own method waits for the copy, and under DeepSpeed rounds the loss's normaliser to bfloat16
        return to_device(inputs, self.args.device)

    @staticmethod
    def get_optimizer_cls_and_kwargs(
        args: TrainingArguments, model: PreTrainedModel | None = None
    ) -> tuple[Any, dict[str, Any]]:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(args, model)
        copies = model is not None and not args.deepspeed and has_half(model)
        return with_masters(kind) if copies else kind, options

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LRScheduler:
        """Runs the rate's schedule once for each part of the plan, so that the last part has the full rate too."""
        assert isinstance(self.train_dataset, MicroBatches)
        parts, chosen = self.train_dataset.plan.part_steps, optimizer or self.optimizer
        if len(parts) == 1:
            return super().create_scheduler(num_training_steps, chosen)
        assert chosen is not None
        share = self.args.warmup_steps / num_training_steps
        each = [get_scheduler(self.args.lr_scheduler_type, chosen, round(share * steps), steps) for steps in parts]
        starts = [0, *accumulate(parts[:-1])]

        def rate(step: int) -> float:
            part = bisect(starts, step) - 1
            return float(each[part].lr_lambdas[0](step - starts[part]))

        self.lr_scheduler = LambdaLR(chosen, rate)
        return self.lr_scheduler

    @cached_property
    def room(self) -> Room:
        assert isinstance(self.train_dataset, MicroBatches)
        return Room(self.train_dataset)

    def training_step(
        self, model: torch.nn.Module, inputs: Batch, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Where the memory is full, the step is begun again with smaller micro-batches; not where other ranks would
        wait for this one."""
        if self.accelerator.num_processes > 1 or self.is_deepspeed_enabled:
            count_batch(self.room.tokens(inputs), inputs["input_ids"].numel())
            return super().training_step(model, inputs, num_items_in_batch)
        if self._begun[0] != self.state.global_step:
            self._begun = (self.state.global_step, [])
        self._begun[1].append(inputs)
        return redone(partial(self._in_pieces, model), self._begun[1], self._begin_again)

    def _in_pieces(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        losses = []
        for piece in self.room.pieces(batch):
            self.room.tried = self.room.taken(piece)
            count_batch(self.room.tokens(piece), piece["input_ids"].numel())
            losses.append(super().training_step(model, piece))
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    def _begin_again(self) -> None:
        assert self.model is not None
        self.model.zero_grad()
        torch.cuda.empty_cache()
        self.forget_step()
        self.room.shrink(self.state.global_step + 1)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        outputs = model(**inputs)
        loss: torch.Tensor = outputs["loss"] * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss


def _only(batches: list[Batch]) -> Batch:
    return batches[0]


@dataclass(frozen=True)
class Metering:
    """Where the progress of a training is told, and what its tokens cost."""

    tracker: Tracker
    arithmetic: Arithmetic | None = None


class Watch(TrainerCallback):
    """Shows progress, writes metrics.jsonl and the tracked run on rank 0, and stops all ranks at one step after a
    signal."""

    def __init__(self, meter: Meter, metering: Metering, metrics: Path, plan: TrainingPlan, since: SinceLog):
        self.meter, self.metering, self.metrics, self.plan, self.since = meter, metering, metrics, plan, since
        self.stopped = False
        self.logged = (0, 0.0, 0.0)  # tokens, operations and time of the last line

    def on_train_begin(self, args: Args, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.meter.begin_at(state.global_step)
        self.logged = (0, 0.0, self.meter.started)
        if state.is_world_process_zero and self.metrics.exists():  # steps that are done again are logged again
            steps = {line: _step(line) for line in self.metrics.read_text(errors="replace").splitlines()}
            write_text(
                self.metrics, "".join(f"{line}\n" for line, step in steps.items() if 0 < step <= state.global_step)
            )

    def on_step_end(self, args: Args, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        rows, own = self.plan.rows(state.global_step - 1), self.metering.arithmetic
        lengths, labels = self.plan.lengths[rows], self.plan.num_labels[rows]
        operations = own.operations(lengths, labels) if own else 0.0
        self.meter.advance(tokens=int(lengths.sum()), operations=operations)
        if interrupts.requested():
            self.stopped = state.global_step < state.max_steps
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Args, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: dict[str, float] = kwargs["logs"]
        if "loss" not in logs:
            return
        told = self.since.told()  # from every rank
        if state.is_world_process_zero:
            values = {"loss": logs["loss"], "lr": logs["learning_rate"], "grad_norm": logs.get("grad_norm")}
            values |= {"epoch": self.plan.epochs_done(state.global_step)} | self._rates() | told
            with open(self.metrics, "a") as handle:
                handle.write(json.dumps({"step": state.global_step} | values) + "\n")
            self.metering.tracker.log(values, step=state.global_step)

    def _rates(self) -> dict[str, float]:
        """Since the last line, whose logged loss has waited for the GPU: `tokens_per_second` of all ranks, and
        `ceiling_share` where it is known."""
        (tokens, operations, before), now, work = self.logged, time.monotonic(), self.meter.work
        self.logged, seconds = (work.tokens, work.operations, now), max(now - before, 1e-9)
        rates = {"tokens_per_second": round((work.tokens - tokens) / seconds, 1)}
        share = share_of_ceiling(work.operations - operations, seconds, work.ceiling, work.ranks)
        return rates | ({} if share is None else {"ceiling_share": round(share, 4)})


def _step(line: str) -> int:
    """The step of a line of metrics.jsonl; 0 for a line that a kill has cut short, or that is another's."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return 0


class OneDevice(TrainingArguments):
    """Each process trains on one GPU; transformers would spread each micro-batch over all GPUs that it sees."""

    @property
    def n_gpu(self) -> int:
        return min(1, int(super().n_gpu))


def arguments(task: Finetuning, accumulation: int, num_steps: int, dtype: str, world: World) -> TrainingArguments:
    """The Trainer's arguments for `num_steps` optimizer steps of `accumulation` micro-batches each."""
    options, schedule = task.options, task.schedule
    # Float32 weights that are computed in float16 need autocast. DeepSpeed takes its precision from here too.
    mixed = options.deepspeed is not None or (options.method == "full" and dtype == "float16")
    use_cpu = world.device.type == "cpu"
    return OneDevice(
        output_dir=str(task.folder / "checkpoints"),
        per_device_train_batch_size=1,  # the plan already makes the micro-batches
        gradient_accumulation_steps=accumulation,
        num_train_epochs=1,
        learning_rate=schedule.lr,
        lr_scheduler_type=schedule.schedule,
        warmup_steps=round(schedule.warmup_share * num_steps),
        weight_decay=schedule.weight_decay,
        max_grad_norm=schedule.max_grad_norm,
        optim=OPTIMIZERS[options.optimizer],
        bf16=mixed and dtype == "bfloat16",
        fp16=mixed and dtype == "float16",
        gradient_checkpointing=options.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if options.gradient_checkpointing else None,
        logging_steps=max(1, min(10, num_steps // 20)),
        logging_nan_inf_filter=False,  # it would wait for the GPU in every step; the loss log finds NaN itself
        save_strategy="steps" if options.checkpoint_steps else "no",
        save_steps=options.checkpoint_steps or 1,
        save_total_limit=2,
        seed=task.seed,
        data_seed=task.seed,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        deepspeed=deepspeed_settings(options.deepspeed, options.method, task.name, task.schedule)
        if options.deepspeed
        else None,
        use_cpu=use_cpu,
        ddp_backend="gloo" if use_cpu and world.size > 1 else None,
        ddp_find_unused_parameters=False,
    )
