"""One finetuning, as one rank of the processes that train together."""

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from forgetfilter.config.schema import MICRO_BATCH_TOKENS, number
from forgetfilter.data.batches import MicroBatches, TrainingPlan, layout_for
from forgetfilter.data.token_files import Prepared, prepare
from forgetfilter.errors import UserError
from forgetfilter.models.ceiling import Arithmetic, Asked, arithmetic
from forgetfilter.models.data_only import data_only
from forgetfilter.models.exactness import verify_losses
from forgetfilter.models.example_losses import ExampleLosses, attach
from forgetfilter.models.loading import ModelRef
from forgetfilter.models.numerics import Numerics
from forgetfilter.models.plain_answers import learn_end
from forgetfilter.process.distributed import World, barrier, gathered
from forgetfilter.process.distributed import world as world_of_ranks
from forgetfilter.process.interrupts import stopped
from forgetfilter.process.progress import console, progress
from forgetfilter.storage import artifacts
from forgetfilter.storage.shards import write_manifest

from .checkpoints import KNOWN, PICKLED_SETTINGS, Seal, resumable
from .hook import LossLog, lacking
from .memory import measured_tokens
from .model import trainable
from .optimizer import state_bytes
from .since_log import SinceLog
from .stage import Finetuning
from .trainer import Metering, PlannedTrainer, Watch, arguments
from .zero import zero_stage


def train(task: Finetuning, world: World) -> None:
    """Trains as one rank of the world and resumes from the last whole checkpoint. Raises Stopped after a signal."""
    options, folder = task.options, task.folder
    base, tokenizer, numerics = task.model.base(), task.model.tokenizer(), task.model.on(world.device)
    prepared = prepare(task.data, tokenizer, task.max_length, task.model.cache)
    verify_losses(base.path, numerics.attention, numerics.dtype, world.device, task.packing)
    plan = make_plan(task, prepared, world)
    counted = _arithmetic(task, plan, base, numerics, world)  # before DeepSpeed's ZeRO-3 takes whatever is loaded
    checkpoint = resumable(folder / "checkpoints", world, options.deepspeed is not None)
    given = _arguments(task, plan, numerics.dtype, world)  # must come first, because ZeRO-3 shards a model as it loads
    transformers.set_seed(task.seed)
    model = trainable(base, task, numerics, zero_stage(options.deepspeed) == 3)
    if options.method == "full":
        learn_end(model, tokenizer)
    layout = layout_for(numerics.attention, task.packing)
    if options.micro_batch_tokens == "auto" and world.device.type == "cuda" and not options.deepspeed:
        plan = measured_plan(plan, model, layout, given, options.optimizer)
    batches = MicroBatches(plan, prepared.row, world.rank, layout, tokenizer.pad_token_id)
    with task.track() as tracker:
        trainer = _run(task, given, model, batches, prepared, checkpoint, Metering(tracker, counted))
        trainer.save_model(str(folder))
        _finish(task, prepared, tokenizer, plan, world)
        tracker.lineage(task.read_artifacts(), [artifacts.model(task.paths, task.name)])


def _run(
    task: Finetuning,
    given: transformers.TrainingArguments,
    model: torch.nn.Module,
    batches: MicroBatches,
    prepared: Prepared,
    checkpoint: str | None,
    metering: Metering,
) -> PlannedTrainer:
    """Runs the training to its end. Raises Stopped after a signal, with a checkpoint saved."""
    sources, plan = prepared.table["source"], batches.plan
    since = SinceLog(sources)
    logs = [LossLog(task.folder / "losses", prepared.table["id"], sources)] if task.options.log_losses else []
    recorders: list[SinceLog | LossLog] = [since, *logs]
    detach = attach(model, lambda losses: _record(recorders, losses))
    ceiling = metering.arithmetic.ceiling if metering.arithmetic else None
    with progress(f"train {task.name}", plan.num_steps, ceiling=ceiling) as meter:
        watch = Watch(meter, metering, task.folder / "metrics.jsonl", plan, since)
        callbacks: list[transformers.TrainerCallback] = [watch, Seal(), *recorders]
        trainer = PlannedTrainer(model, given, train_dataset=batches, callbacks=callbacks)
        trainer.forget_step = lambda: _forget_step(recorders)
        trainer.remove_callback(transformers.PrinterCallback)  # Watch shows the progress
        with data_only(KNOWN if task.options.deepspeed else (), f"{checkpoint}: a file"):
            trainer.train(resume_from_checkpoint=checkpoint)
    detach()
    if watch.stopped:
        raise stopped(f"train {task.name}")
    return trainer


def _record(recorders: Sequence[SinceLog | LossLog], losses: ExampleLosses) -> None:
    for recorder in recorders:
        recorder.record(losses)


def _forget_step(recorders: Sequence[SinceLog | LossLog]) -> None:
    for recorder in recorders:
        recorder.forget_step()


def make_plan(task: Finetuning, prepared: Prepared, world: World) -> TrainingPlan:
    """The plan of all steps. UserError where a step has fewer examples than there are ranks."""
    schedule = task.schedule
    if schedule.batch_size < world.size:
        raise UserError(f"train.{task.name}.batch_size is {schedule.batch_size}, fewer than the {world.size} ranks")
    last_rows, last_epochs = task.second_part
    return TrainingPlan(
        lengths=prepared.lengths(),
        num_labels=prepared.num_labels(),
        seed=task.seed,
        epochs=schedule.epochs,
        batch_size=schedule.batch_size,
        micro_batch_tokens=number(task.options.micro_batch_tokens, MICRO_BATCH_TOKENS),
        world_size=world.size,
        last_rows=last_rows,
        last_epochs=last_epochs,
        padded=not task.packing,
    )


def _arithmetic(
    task: Finetuning, plan: TrainingPlan, base: ModelRef, numerics: Numerics, world: World
) -> Arithmetic | None:
    full = task.options.method == "full"
    asked = Asked(base.path, numerics.dtype, task.model.cache, None if full else task.options.lora, full)
    return arithmetic(asked, plan.lengths, plan.num_labels, world)


def measured_plan(
    plan: TrainingPlan, model: Any, layout: str, given: transformers.TrainingArguments, optimizer: str
) -> TrainingPlan:
    """The plan with the micro-batches that the GPU of each rank holds; told to the Trainer's arguments too."""
    if given.gradient_checkpointing:
        model.gradient_checkpointing_enable(given.gradient_checkpointing_kwargs)
    autocast = torch.bfloat16 if given.bf16 else torch.float16 if given.fp16 else None
    states = state_bytes(model, optimizer)
    if world_of_ranks().size > 1:  # the buckets in which torch sends the gradients are a second copy of them
        states += sum(weight.nbytes for weight in model.parameters() if weight.requires_grad)
    tokens = measured_tokens(model, int(plan.lengths.max()), layout, given.device, autocast, states)
    plan = replace(plan, micro_batch_tokens=min(gathered(tokens)))
    given.gradient_accumulation_steps = plan.accumulation
    if world_of_ranks().is_main:
        console.print(f"a micro-batch has at most {plan.micro_batch_tokens} tokens (measured)")
    return plan


def _arguments(task: Finetuning, plan: TrainingPlan, dtype: str, world: World) -> transformers.TrainingArguments:
    if task.options.deepspeed:  # ZeRO-3 asks DeepSpeed's own communication for the world size while the model loads
        importlib.import_module("deepspeed").init_distributed("gloo" if world.device.type == "cpu" else "nccl")
    return arguments(task, plan.accumulation, plan.num_steps, dtype, world)


def _finish(task: Finetuning, prepared: Prepared, tokenizer: Any, plan: TrainingPlan, world: World) -> None:
    """Writes the marker of the loss log, and the tokenizer beside a full model.

    The checkpoints stay until the stage is recorded as done, so that a kill before that does not cost the training.
    """
    barrier()
    folder = task.folder
    if world.is_main:
        if task.options.method == "full":
            tokenizer.save_pretrained(folder)
        if task.options.log_losses:
            rows = {"epochs": plan.epochs, "rows": len(prepared)}
            manifest = {"data": prepared.identity, **rows, "world_size": world.size}
            told = {"trained_on": task.trained_on} if task.trained_on else {}
            _close_log(folder / "losses", manifest | told, plan.epoch_rows)
        (folder / PICKLED_SETTINGS).unlink(missing_ok=True)  # the result holds no pickle, only safetensors
    barrier()


def _close_log(folder: Path, manifest: dict[str, Any], expected: Sequence[int]) -> None:
    """Writes the marker of the loss log if it is proven whole. A log without its marker is not used."""
    if trouble := lacking(folder, expected):
        way = f"delete {folder.parent} and run again if a signal needs it"
        console.print(f"{folder} is not whole and is not used ({trouble}): {way}", soft_wrap=True)
        return
    write_manifest(folder, manifest)
