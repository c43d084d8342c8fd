"""models/rehearsal.py and models/memory.py: what a training step holds, beside one that is really done."""

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from forgetfilter.config.schema import LoraConfig
from forgetfilter.data.batches import collate
from forgetfilter.models.example_losses import attach
from forgetfilter.models.lora_targets import adapter_config
from forgetfilter.models.memory import (
    Held,
    Method,
    divided,
    fewest_ranks,
    held,
    least_stage,
    surely_fits,
)
from forgetfilter.models.rehearsal import Parameters, Rehearsed, Training, outline, parameters, rehearse

LENGTHS, LABELS = [40, 30, 24], [20, 10, 24 - 1]
LORA = LoraConfig()


def real_peak(folder: Path, training: Training) -> tuple[int, int]:
    """(bytes left by the forward pass, peak beyond weights and gradients) of a real step, from the allocator's record
    in torch's profiler."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=training.attention)
    if training.lora:
        model.requires_grad_(False)
        model = peft.get_peft_model(model, adapter_config(model, training.lora))
    if training.checkpointing:
        if training.lora:
            model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    attach(model.train())
    batch = collate([([5] * n, [(n - own, n)]) for n, own in zip(LENGTHS, LABELS)], range(3), "rows", 0)
    gc.collect()  # what earlier tests left would be freed within the step, and counted as its own
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as watch:
        loss = model(**batch)["loss"]
        with torch.profiler.record_function("middle"):
            pass
        loss.backward()
    held = peak = saved = 0
    for event in watch.profiler.kineto_results.events():
        saved = held if event.name() == "middle" else saved
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return saved, peak


@pytest.mark.parametrize(
    "training",
    [
        Training(LORA, "float32", None, "sdpa", True, False),
        Training(LORA, "float32", None, "eager", True, False),
        Training(LORA, "float32", None, "sdpa", True, True),
        Training(None, "float32", None, "sdpa", True, False),
        Training(None, "float32", None, "eager", True, True),
    ],
)
def test_a_rehearsed_step_holds_what_a_real_one_does(tiny_model: Path, training: Training) -> None:
    # The peak of a rehearsed step is that of a real one to 3%, the rest being buffers inside of kernels.
    found = rehearse(tiny_model, training, LENGTHS, LABELS)
    _, peak = real_peak(tiny_model, training)
    assert found.peak == pytest.approx(peak, rel=0.03)
    assert 0 < found.saved <= found.peak


def test_parameters_are_counted_once(tiny_model: Path) -> None:
    # The counts are those of the real model, and neither the embeddings nor the output layer count as multiplied for
    # each token.
    real: Any = AutoModelForCausalLM.from_pretrained(tiny_model)
    total = sum(weight.numel() for weight in real.parameters())
    full = parameters(outline(tiny_model, Training(None, "bfloat16", None, "sdpa", True, False)))
    assert (full.base, full.trained, full.trained_bytes) == (0, total, 2 * total)
    embedded = real.get_input_embeddings().weight.numel()
    assert full.multiplied == total - embedded - (0 if real.config.tie_word_embeddings else embedded)
    adapted = parameters(outline(tiny_model, Training(LORA, "bfloat16", None, "sdpa", True, False)))
    # rank 8 on q (32 to 32) and v (32 to 16) of two layers, in float32 beside a bfloat16 base
    assert adapted.trained == 2 * 8 * (32 + 32 + 32 + 16) and adapted.trained_bytes == 4 * adapted.trained
    assert (adapted.base, adapted.base_bytes) == (total, 2 * total)
    assert adapted.linear == full.multiplied - sum(w.numel() for n, w in real.named_parameters() if "norm" in n)


def step(trained: int, size: int) -> Rehearsed:
    own = Parameters(1000, trained, 2000, trained * size, 800, 100, 900, 50)
    return Rehearsed(own, 500, 700)


def test_methods_are_golden() -> None:
    # The bytes of each method are those of the docstring's table, by hand for 100 trained parameters.
    plain = Method(False, "adamw", False, False, 2)
    assert held(step(100, 4), plain) == Held(2000, 400, 400, 800, 500, 200)
    assert held(step(100, 2), plain).optimizer == 1200  # copies in float32
    deepspeed = Method(False, "adamw", True, False, 2)
    assert held(step(100, 4), deepspeed) == Held(2000, 200, 200, 1200, 500, 200)
    four_bit = Method(True, "adamw_8bit", False, False, 2)
    # 800 parameters in 4 bits and their scales, 200 in 16; a matrix of 100 is brought back to 2 bytes
    assert held(step(100, 4), four_bit) == Held(round(800 * 0.515869140625) + 400, 400, 400, 200, 500, 400)
    assert held(step(100, 4), Method(False, "adamw", True, True, 2)).optimizer == 0


def test_zero_divides_what_it_says() -> None:
    # 8, 8 and 80 bytes are divided over 4 ranks as each stage of ZeRO says, and activations are not; without a division
    # torch keeps the gradients in buckets once more.
    alone = Held(8, 8, 8, 80, 5, 3)
    assert [divided(alone, stage, 4) for stage in (0, 1, 2, 3)] == [
        replace(alone, buffers=8),
        Held(8, 8, 8, 20, 5, 3, 8),
        Held(8, 8, 2, 20, 5, 3, 8),
        Held(2, 2, 2, 20, 5, 3, 16),
    ]
    assert divided(alone, 3, 1) == alone
    assert [least_stage(alone, 4, room) for room in (120, 60, 54, 50, 49)] == [0, 1, 2, 3, None]
    assert (fewest_ranks(alone, 1, 60, 64), fewest_ranks(alone, 0, 60, 64)) == (4, None)


def test_what_surely_fits_is_more_than_a_step_holds(tiny_model: Path) -> None:
    # The bound without a rehearsal lies above a rehearsed step, and a config that tells nothing never surely fits.
    config = AutoModelForCausalLM.from_pretrained(tiny_model).config
    for lora in (LORA, None):
        training = Training(lora, "float32", None, "eager", True, False)
        found = held(rehearse(tiny_model, training, LENGTHS, LABELS), Method(False, "adamw", False, False, 4))
        own = found.total - found.working
        count = sum(weight.numel() for weight in outline(tiny_model, training).parameters())
        assert not surely_fits(config, count, sum(LENGTHS), max(LENGTHS), 4, own)
    assert surely_fits(config, 10, 10, 10, 4, 1e9) and not surely_fits(object(), 10, 10, 10, 4, 1e9)
