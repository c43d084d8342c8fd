"""One finetuning, by the rank of a world that this process is."""

import importlib
from pathlib import Path
from typing import Any

import torch
import transformers

from forgetfilter.config.load import to_dict
from forgetfilter.data import tokens
from forgetfilter.data.batches import MicroBatches, TrainingPlan, layout_for
from forgetfilter.errors import Stopped, UserError
from forgetfilter.models.exactness import verify_losses
from forgetfilter.models.example_losses import attach
from forgetfilter.models.generation import learn_end
from forgetfilter.models.loading import attention_backend, compute_dtype, load_tokenizer, resolve
from forgetfilter.process.distributed import World, barrier
from forgetfilter.process.progress import progress
from forgetfilter.process.tracking import tracked
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import write_manifest

from .hook import LossLog
from .model import trainable
from .stage import data_of, start_of
from .trainer import PlannedTrainer, Watch, arguments, resumable
from .zero import settings, stage_of


def train(run: Run, stage: str, world: World) -> None:
    """Trains one stage as one rank of the world; goes on from its last checkpoint where there is one."""
    config, folder = run.config, run.model(stage)
    cache = Path(config.cache).expanduser()
    base = resolve(config.model.name, config.model.revision, cache)
    tokenizer = load_tokenizer(base.path, config.model.chat_template)
    prepared = tokens.prepare(data_of(run, stage), tokenizer, config.data.max_length, cache)
    attention = attention_backend(config.model.attention, world.device)
    dtype = compute_dtype(config.model.dtype, world.device, config.train.method == "qlora")
    verify_losses(base.path, attention, dtype, world.device, config.train.packing)
    plan = make_plan(run, stage, prepared, world)
    checkpoint = resumable(folder / "checkpoints", world, config.train.deepspeed is not None)
    trainer_arguments = _arguments(run, stage, plan, world, dtype)  # before the model: ZeRO-3 shards it while it loads
    transformers.set_seed(config.seed)
    model = _model(run, stage, base, attention, world, trainer_arguments, dtype)
    if config.train.method == "full":
        learn_end(model, tokenizer)
    layout = layout_for(attention, config.train.packing)
    batches = MicroBatches(plan, prepared.row, world.rank, layout, tokenizer.pad_token_id)
    log = LossLog(folder / "losses", prepared.table["id"], prepared.table["source"])
    detach = attach(model, log.record if config.train.log_losses else None)
    with (
        tracked(config.tracking, run.folder, f"train-{stage}", to_dict(config)) as tracker,
        progress(f"train {stage}", plan.num_steps) as meter,
    ):
        watch = Watch(meter, tracker, folder / "metrics.jsonl")
        callbacks: list[transformers.TrainerCallback] = [watch, log] if config.train.log_losses else [watch]
        trainer = PlannedTrainer(model, trainer_arguments, train_dataset=batches, callbacks=callbacks)
        trainer.remove_callback(transformers.PrinterCallback)  # Watch shows the progress
        trainer.train(resume_from_checkpoint=checkpoint)
    if watch.stopped:
        raise Stopped(f"train {stage} stopped by a signal; everything is saved, run the same command again to go on")
    detach()
    trainer.save_model(str(folder))
    _finish(run, stage, prepared, tokenizer, plan, world)


def make_plan(run: Run, stage: str, prepared: tokens.Prepared, world: World) -> TrainingPlan:
    schedule = run.config.train.schedule(stage)
    if schedule.batch_size < world.size:
        raise UserError(f"train.{stage}.batch_size is {schedule.batch_size}, fewer than the {world.size} ranks")
    return TrainingPlan(
        lengths=prepared.lengths(),
        num_labels=prepared.num_labels(),
        seed=run.config.seed,
        epochs=schedule.epochs,
        batch_size=schedule.batch_size,
        micro_batch_tokens=run.config.train.micro_batch_tokens,
        world_size=world.size,
    )


def _arguments(run: Run, stage: str, plan: TrainingPlan, world: World, dtype: str) -> transformers.TrainingArguments:
    options = run.config.train
    deepspeed = settings(options.deepspeed) if options.deepspeed else None
    if deepspeed:  # before the model: ZeRO-3 asks DeepSpeed's own communication for the world size while it loads
        importlib.import_module("deepspeed").init_distributed("gloo" if world.device.type == "cpu" else "nccl")
    # Mixed precision where float32 weights are trained; an adapter on a bfloat16 base needs no autocast.
    mixed = deepspeed is not None or options.method == "full"
    precision = {"bfloat16": "bf16", "float16": "fp16"}.get(dtype) if mixed else None
    return arguments(
        folder=run.model(stage) / "checkpoints",
        schedule=options.schedule(stage),
        seed=run.config.seed,
        accumulation=plan.accumulation,
        num_steps=plan.num_steps,
        checkpoint_steps=options.checkpoint_steps,
        gradient_checkpointing=options.gradient_checkpointing,
        precision=precision,
        deepspeed=deepspeed,
        use_cpu=world.device.type == "cpu",
        world_size=world.size,
    )


def _model(run: Run, stage: str, base: Any, attention: str, world: World, args: Any, dtype: str) -> torch.nn.Module:
    options = run.config.train
    sharded = stage_of(args.deepspeed) == 3
    if options.method == "full" and not options.deepspeed:
        dtype = "float32"
    return trainable(
        base,
        start_of(run, stage),
        options.method,
        options.lora,
        dtype,
        attention,
        None if sharded else world.device,
        options.gradient_checkpointing,
    )


def _finish(run: Run, stage: str, prepared: Any, tokenizer: Any, plan: TrainingPlan, world: World) -> None:
    """The marker of the loss log, and the tokenizer beside a full model.

    The checkpoints stay until the stage is recorded as done: a rank that is killed before that must not cost all of it.
    """
    barrier()
    folder = run.model(stage)
    if world.is_main:
        if run.config.train.method == "full":
            tokenizer.save_pretrained(folder)
        if run.config.train.log_losses:
            write_manifest(
                folder / "losses",
                {"data": prepared.identity, "epochs": plan.epochs, "rows": len(prepared), "world_size": world.size},
            )
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle: only safetensors come out
    barrier()
