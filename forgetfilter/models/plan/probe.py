"""A short probe of this machine's speed: a few micro-batches of a training and of a scoring, with the real weights."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch

from forgetfilter.config.schema import Config
from forgetfilter.data.batches import collate, layout_for, plan_scoring
from forgetfilter.models.example_losses import attach, to_device
from forgetfilter.models.loading import load_base
from forgetfilter.models.lora_targets import adapter_config
from forgetfilter.models.plan.costs import forward_operations, training_operations
from forgetfilter.models.plan.planning import Planner
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.distributed import world
from forgetfilter.storage.stage import load

STEPS = 7  # micro-batches that are measured, after one that warms up


@dataclass(frozen=True)
class Speed:
    """Operations a second, as plan/costs.py counts them."""

    training: float
    scoring: float
    steps: int


def measured_seconds(planner: Planner, config: Config, folder: Path) -> Speed:
    """Trains and scores a few micro-batches of random tokens with the lengths of the noisy set; keeps nothing."""
    numerics = ModelSettings.of(config).on(world().device)
    full = config.train.method == "full"
    wide = full and not config.train.deepspeed and numerics.dtype == "float16"
    dtype = "float32" if wide else numerics.dtype
    model: Any = load_base(folder, dtype, numerics.attention, numerics.device, numerics.four_bit)
    if not full:
        import peft

        model.requires_grad_(False)
        if config.train.gradient_checkpointing:
            model.enable_input_require_grads()
        model = peft.get_peft_model(model, adapter_config(model, config.train.lora, say=False))
    mixed = torch.autocast(numerics.device.type, getattr(torch, numerics.dtype), enabled=wide)
    layout = layout_for(numerics.attention, config.data.packing)
    detach = attach(model)
    try:
        training = _training(planner, model, layout, mixed)
        scoring = _scoring(planner, model.eval(), layout)
    finally:
        detach()
    return Speed(training, scoring, STEPS)


def _training(planner: Planner, model: Any, layout: str, mixed: Any) -> float:
    """Operations a second of whole optimizer steps: the micro-batches with their data, the update, and the clipping."""
    train, noisy = planner.train, planner.sets["noisy"]
    if train.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    weights = [one for one in model.train().parameters() if one.requires_grad]
    adamw: Callable[..., torch.optim.Optimizer] = load("forgetfilter.train.optimizer:adamw", FunctionType)
    optimizer = adamw(weights, copies=not planner.method.deepspeed)  # the other optimizers take about as long
    plan = planner.training_plan("noisy", 1)
    count = plan.num_steps * plan.accumulation
    chosen = [rows for number in range(STEPS) if len(rows := plan.micro_batch(0, number % count))]

    def learn(batch: dict[str, Any]) -> None:
        with mixed:
            loss = model(**batch)["loss"]
        loss.backward()

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(weights, train.noisy.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

    lengths, labels = ([of[one] for one in chosen] for of in (noisy.lengths, noisy.labels))
    _seconds(learn, model, lengths[:1], labels[:1], layout)  # warms up
    _timed(update)  # the optimizer's states are made
    seconds = _seconds(learn, model, lengths, labels, layout) + _timed(update) * len(chosen) / plan.accumulation
    full, again = train.method == "full", train.gradient_checkpointing
    pairs = zip(lengths, labels)
    return sum(training_operations(planner.shape, of, own, full, again) for of, own in pairs) / seconds


def _scoring(planner: Planner, model: Any, layout: str) -> float:
    rows = planner.sets["noisy"]
    batches = plan_scoring(rows.lengths, planner.batch_tokens, not planner.packing)
    chosen = [batches[place] for place in np.linspace(0, len(batches) - 1, min(STEPS, len(batches))).astype(int)]

    def score(batch: dict[str, Any]) -> None:
        with torch.inference_mode():
            model(**batch)

    lengths, labels = ([of[one] for one in chosen] for of in (rows.lengths, rows.labels))
    _seconds(score, model, lengths[:1], labels[:1], layout)  # warms up
    seconds = _seconds(score, model, lengths, labels, layout)
    return sum(forward_operations(planner.shape, of, own) for of, own in zip(lengths, labels)) / seconds


def _seconds(
    work: Callable[[dict[str, Any]], None], model: Any, lengths: Sequence[Any], labels: Sequence[Any], layout: str
) -> float:
    """Of the work on batches of random tokens, and of making them."""
    device, vocabulary = world().device, model.config.get_text_config().vocab_size
    rng = np.random.default_rng(0)

    def once(tokens: Any, learned: Any) -> None:
        sizes = zip(tokens.tolist(), learned.tolist())
        examples = [(rng.integers(0, vocabulary, n), [(n - own, n)]) for n, own in sizes]
        work(to_device(collate(examples, range(len(examples)), layout, 0), device))

    return sum(_timed(partial(once, tokens, learned)) for tokens, learned in zip(lengths, labels))


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    if world().device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
