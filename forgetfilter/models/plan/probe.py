"""A short probe of this machine's speed: a few micro-batches of a training and of a scoring, with the real weights."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
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

STEPS = 6  # micro-batches that are measured, after one that warms up


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
    train, rows = planner.train, planner.sets["noisy"]
    if train.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], fused=True)
    plan = planner.training_plan("noisy", 1)
    count = plan.num_steps * plan.accumulation
    chosen = [plan.micro_batch(0, number % count) for number in range(STEPS + 1)]

    def learn(batch: dict[str, Any]) -> None:
        with mixed:
            loss = model(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    full = train.method == "full"
    return _rate(
        learn,
        model.train(),
        [rows.lengths[one] for one in chosen],
        [rows.labels[one] for one in chosen],
        layout,
        lambda lengths, labels: training_operations(planner.shape, lengths, labels, full, train.gradient_checkpointing),
    )


def _scoring(planner: Planner, model: Any, layout: str) -> float:
    rows = planner.sets["noisy"]
    batches = plan_scoring(rows.lengths, planner.batch_tokens)
    chosen = [batches[place] for place in np.linspace(0, len(batches) - 1, min(STEPS, len(batches))).astype(int)]
    chosen = [chosen[0], *chosen]

    def score(batch: dict[str, Any]) -> None:
        with torch.inference_mode():
            model(**batch)

    lengths, labels = ([of[one] for one in chosen] for of in (rows.lengths, rows.labels))
    return _rate(score, model, lengths, labels, layout, lambda a, b: forward_operations(planner.shape, a, b))


def _rate(
    work: Callable[[dict[str, Any]], None],
    model: Any,
    lengths: Sequence[Any],
    labels: Sequence[Any],
    layout: str,
    operations: Callable[[Any, Any], float],
) -> float:
    """Operations a second over all batches but the first."""
    device, vocabulary = world().device, model.config.get_text_config().vocab_size
    rng, done, seconds = np.random.default_rng(0), 0.0, 0.0
    for number, (tokens, learned) in enumerate(zip(lengths, labels)):
        sizes = zip(tokens.tolist(), learned.tolist())
        examples = [(rng.integers(0, vocabulary, n), [(n - own, n)]) for n, own in sizes]
        batch = to_device(collate(examples, range(len(examples)), layout, 0), device)
        start = time.perf_counter()
        work(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number:
            seconds += time.perf_counter() - start
            done += operations(tokens, learned)
    return done / seconds
