"""From a configuration to its plan, by a rehearsal of its largest batches."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import Any

import torch

from forgetfilter.config.load import with_settings
from forgetfilter.config.schema import BATCH_TOKENS, MICRO_BATCH_TOKENS, Config, number
from forgetfilter.errors import UserError
from forgetfilter.models.disk_space import trained_parameters
from forgetfilter.models.embedded import EMBEDDED
from forgetfilter.models.limits import limits_of
from forgetfilter.models.loading import from_hub, load_tokenizer, resolve
from forgetfilter.models.memory import Method, divided, least_stage, machine_bytes, sized, surely_fits
from forgetfilter.models.numerics import attentions
from forgetfilter.models.plan.costs import Shape, training_operations
from forgetfilter.models.plan.planning import GB, Machine, Planner, largest_batch, largest_micro_batch, training_plan
from forgetfilter.models.plan.probe import measured_seconds
from forgetfilter.models.plan.rows import Rows, counted_rows
from forgetfilter.models.pretrained import load_config
from forgetfilter.models.rehearsal import Training, rehearse
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.distributed import world
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import load


@dataclass(frozen=True)
class Given:
    """What the command line says beside the configuration."""

    gpu_gb: float
    reserved_gb: float
    """Of it: what tensors do not get. The command's 2 GB are an assumption, not measured."""
    link_gb: float
    rows: int | None
    safe_rows: int
    tokens_per_row: int | None
    tokens_per_second: float | None
    """Of one GPU in the noisy training."""
    flops: float | None
    """Operations a second of one GPU at its best."""
    utilisation: float
    measure: bool


@dataclass(frozen=True)
class Estimate:
    """A plan, with what was looked at on the way."""

    planner: Planner
    unchecked: tuple[str, ...]
    """What could not be checked here, in lines for people."""
    disk: str
    """What the trainings need of the disk, in a line; empty where nothing is trained."""
    rate: str
    """Where the hours come from, in words."""


def model_folder(config: Config) -> Path:
    """The model's folder, of which config.json is enough; of one on the hub all but the weights is fetched."""
    name = config.model.name
    if name == EMBEDDED:
        return resolve(name, None, Path(config.cache).expanduser()).path
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    return from_hub(name, config.model.revision, "model.name", weights=False)


def planned(config: Config, folder: Path, sets: dict[str, Rows], machine: Machine) -> Planner:
    """The plan of the sets, without a rate."""
    training, method = training_of(config, folder), method_of(config)
    micro = number(config.train.micro_batch_tokens, MICRO_BATCH_TOKENS)
    batch = number(config.data.batch_tokens, BATCH_TOKENS)
    name = max(sets, key=lambda name: sets[name].lengths.max())
    plan = training_plan(sets[name], config.train.schedule(name), config.seed, micro, 1, not training.packing)
    rows = largest_micro_batch(plan, training.attention, training.packing)
    lengths, labels = sets[name].lengths[rows], sets[name].labels[rows]
    step = rehearse(folder, training, lengths.tolist(), labels.tolist())
    noisy = sets["noisy"]
    scored = largest_batch(noisy.lengths, batch, training.attention, training.packing)
    alone = replace(training, autocast=None, dtype=config_dtype(config))
    lengths, labels = noisy.lengths[scored], noisy.labels[scored]
    score = rehearse(folder, alone, lengths.tolist(), labels.tolist(), learning=False)
    shape = Shape.of(load_config(folder, "model.name").get_text_config(), step.parameters)
    return Planner(
        sets, config.train, config.seed, training.packing, micro, batch, method, shape, step, score, config.scorings,
        machine,
    )  # fmt: skip


def training_of(config: Config, folder: Path) -> Training:
    """How the run trains: as train/model.py and the Trainer's arguments have it."""
    dtype = config_dtype(config)
    wide = config.train.method == "full" and not config.train.deepspeed and dtype == "float16"
    attention = config.model.attention
    if attention == "auto":
        attention = "sdpa" if "sdpa" in attentions(folder) else "eager"
    return Training(
        None if config.train.method == "full" else config.train.lora,
        "float32" if wide else dtype,
        dtype if wide else None,
        attention,
        config.data.packing,
        config.train.gradient_checkpointing,
    )


def config_dtype(config: Config) -> str:
    """What `auto` is on a GPU, for which the plan is."""
    return "bfloat16" if config.model.dtype == "auto" else config.model.dtype


def method_of(config: Config) -> Method:
    deepspeed, (_, offload) = config.train.deepspeed, zero_of(config.train.deepspeed)
    item = torch.empty(0, dtype=getattr(torch, config_dtype(config))).element_size()
    return Method(config.train.method == "qlora", config.train.optimizer, deepspeed is not None, offload, item)


def with_rate(planner: Planner, config: Config, folder: Path, given: Given) -> tuple[Planner, str]:
    """The plan with the operations a second that are given or measured, and where they come from."""
    rows, train = planner.sets["noisy"], config.train
    full, again = train.method == "full", train.gradient_checkpointing
    if given.measure:
        found = measured_seconds(planner, config, folder)
        machine = replace(planner.machine, operations=found.training, scoring_operations=found.scoring)
        return replace(planner, machine=machine), f"a measurement of {found.steps} micro-batches here"
    if given.tokens_per_second:
        each = training_operations(planner.shape, rows.lengths, rows.labels, full, again) / int(rows.lengths.sum())
        rate, words = (
            given.tokens_per_second * each,
            f"{given.tokens_per_second:,.0f} tokens/s of a GPU in training, as given",
        )
    elif given.flops:
        rate, words = given.flops * given.utilisation, f"{given.utilisation:.0%} of {given.flops:.3g} FLOP/s, as given"
    else:
        return planner, ""
    return replace(planner, machine=replace(planner.machine, operations=rate)), words


def check_fits(planner: Planner, ranks: int, zero: int) -> None:
    """UserError where so many ranks under a stage of ZeRO have not the memory that each needs, or where one has not
    what the scoring needs, which ZeRO does not divide. What DeepSpeed offloads is not known well enough to refuse."""
    scored = planner.scoring().memory.total
    if scored > planner.machine.room:
        raise UserError(
            f"model.name: each rank needs about {sized(scored)} of memory to score, which divides no model, and has "
            f"{sized(planner.machine.room)}: take a smaller model, train.method=qlora, or lower data.batch_tokens"
        )
    needed, room = divided(planner.alone, zero, ranks).total, planner.machine.room
    if needed <= room or planner.method.offload:
        return
    least = least_stage(planner.alone, ranks, room)
    way = f"train.deepspeed=zero{least} fits" if least else "lower train.micro_batch_tokens, or take more ranks"
    if not planner.train.gradient_checkpointing and planner.alone.activations > needed - room:
        way += ", or set train.gradient_checkpointing=true"
    raise UserError(
        f"launch.processes: with {ranks} in all, each needs about {sized(needed)} of memory to train, and has "
        f"{sized(room)}: {way}"
    )


def check_memory(config: Config, paths: RunPaths) -> None:
    """UserError where the plan says that the ranks of the noisy training do not fit into the memory of this machine:
    of a GPU, or without one of all of it. What surely fits is not planned, which takes seconds."""
    model, width, room = ModelSettings.of(config), config.data.max_length, machine_bytes(config.launch.processes)
    base, dtype, gpu = model.base().path, model.plain_dtype(world().device), world().device.type == "cuda"
    item = 4 if dtype == "float32" else 2
    tokens = max(number(config.train.micro_batch_tokens, MICRO_BATCH_TOKENS), width)
    text = load_config(base, "model.name").get_text_config()
    if surely_fits(text, trained_parameters(base, None), tokens, width, item, room):
        return
    check_here(config, paths, room, dtype, gpu)


def check_here(config: Config, paths: RunPaths, room: float, dtype: str, gpu: bool) -> None:
    """UserError where each rank of the noisy training needs more than `room` bytes, by the rows that the mix wrote.

    `dtype` is the one that is computed in here. On a GPU `auto` takes what fits, so the longest row is all that must.
    """
    folder = model_folder(config)
    longest = min(config.data.max_length, limits_of(folder).context)
    rows = counted_rows(paths, load_tokenizer(folder, config.model.chat_template), longest)["noisy"]
    least: dict[str, Any] = {"model.dtype": dtype}
    if gpu and config.data.batch_tokens == "auto":
        least["data.batch_tokens"] = int(rows.lengths.max())
    if gpu and config.train.micro_batch_tokens == "auto" and not config.train.deepspeed:
        least["train.micro_batch_tokens"] = int(rows.lengths.max())
    config = with_settings(config, least, "for the plan of this machine")
    planner = planned(config, folder, {"noisy": rows}, Machine(room / GB, 0.0, 1.0, None))
    check_fits(planner, config.launch.processes * config.launch.nodes, zero_of(config.train.deepspeed)[0])


def zero_of(deepspeed: str | None) -> tuple[int, bool]:
    """The stage of ZeRO, and whether states or weights are offloaded to the CPU."""
    stage: Callable[[str | None], int] = load("forgetfilter.train.zero:zero_stage", FunctionType)
    offloads: Callable[[str | None], bool] = load("forgetfilter.train.zero:offloads", FunctionType)
    return stage(deepspeed), offloads(deepspeed)
