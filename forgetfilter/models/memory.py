"""What a rank holds in memory while it trains, by what holds it, and how ZeRO divides it among the ranks.

Trained weights have their gradients in their own type. AdamW keeps two moments in float32, 8 bytes a trained parameter;
where the trained weights have 16 bits, it (or DeepSpeed) keeps float32 copies of them too, 12 bytes (Rajbhandari et
al., ZeRO: Memory Optimizations Toward Training Trillion Parameter Models, 2020, section 3.1).
Of N ranks, ZeRO-1 leaves each an Nth of the optimizer's states, ZeRO-2 also of
the gradients, ZeRO-3 also of the weights (section 5); activations are divided by none. Beside them DeepSpeed has
buffers of its documented default sizes: 5e8 gradients that are reduced together (ZeRO-1 and 2), 1e9 parameters that are
gathered at a time (ZeRO-3).

A 4-bit base has 0.5 bytes a parameter in its matrices, and by double quantisation a scale of 8 bits for 64 of them and
one of 32 bits for 64 * 256 (Dettmers et al., QLoRA, 2023, section 3): 0.516 bytes. Each matrix is brought back to the
type that is computed in while it is used.
"""

import os
from dataclasses import dataclass, replace
from typing import Any

from forgetfilter.models.rehearsal import Parameters, Rehearsed

STATE_BYTES = {"adamw": 8, "adamw_8bit": 2, "adafactor": 1}  # of each trained parameter, float32 copies not counted
COPY = 4  # bytes of a float32 copy
AT_ONCE = 2**28  # weights that an optimizer with copies moves together: their gradients in float32 are 1 GB
FOUR_BIT = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes a parameter
REDUCED, GATHERED = 500_000_000, 1_000_000_000  # DeepSpeed's reduce_bucket_size and stage3_max_live_parameters
STAGES = (0, 1, 2, 3)
PROCESS_BYTES = 560_000_000  # resident before any tensor: Python, torch, transformers and the rest (Linux, CPU build)
HEAP = 1.38  # resident bytes of a byte of tensors on a CPU, whose heap keeps freed pieces; fitted on trainings by LoRA


@dataclass(frozen=True)
class Held:
    """Bytes of one rank at its peak."""

    base: int
    """Weights that stay as they are."""
    trained: int
    gradients: int
    optimizer: int
    activations: int
    """What the forward pass leaves for the backward pass."""
    working: int
    """Short-lived tensors at the peak: the chunk of logits, gradients on their way, a matrix out of its 4 bits."""
    buffers: int = 0
    """DeepSpeed's own."""

    @property
    def total(self) -> int:
        return (
            self.base + self.trained + self.gradients + self.optimizer + self.activations + self.working + self.buffers
        )


@dataclass(frozen=True)
class Method:
    """How a model's weights are stored and trained."""

    four_bit: bool
    optimizer: str
    """One of STATE_BYTES."""
    deepspeed: bool
    offload: bool
    """Whether the optimizer's states are in the memory of the CPU."""
    item: int
    """Bytes of a number of the type that is computed in."""


def held(step: Rehearsed, method: Method) -> Held:
    """Of one rank alone, before ZeRO divides anything."""
    own = step.parameters
    trained = own.trained * method.item if method.deepspeed else own.trained_bytes
    copied = COPY * own.trained if method.deepspeed or own.trained_bytes < COPY * own.trained else 0
    states = own.trained * STATE_BYTES[method.optimizer] + copied
    working = step.peak - step.saved + (own.largest * method.item if method.four_bit else 0)
    if not method.deepspeed:  # the step of the optimizer comes when the activations are gone
        working = max(working, min(copied, COPY * AT_ONCE) - step.saved)
    return Held(
        base_bytes(own, method.four_bit),
        trained,
        trained,
        0 if method.offload else states,
        step.saved,
        working,
    )


def base_bytes(own: Parameters, four_bit: bool) -> int:
    """Of the weights that are not trained."""
    if not four_bit or not own.base:
        return own.base_bytes
    item = own.base_bytes / own.base
    return round(own.linear * FOUR_BIT + (own.base - own.linear) * item)


def divided(alone: Held, stage: int, ranks: int) -> Held:
    """What each of several ranks holds under a stage of ZeRO; stage 0 divides nothing."""

    def part(size: int, since: int) -> int:
        return -(-size // ranks) if stage >= since else size

    weights = alone.base + alone.trained
    # bytes of bfloat16; without DeepSpeed torch sends the gradients from buckets that are a second copy of them
    buffers = {0: alone.gradients, 1: 2 * REDUCED, 2: 2 * REDUCED, 3: 2 * GATHERED}[stage]
    return replace(
        alone,
        base=part(alone.base, 3),
        trained=part(alone.trained, 3),
        gradients=part(alone.gradients, 2),
        optimizer=part(alone.optimizer, 1),
        buffers=min(buffers, weights if stage == 3 else alone.gradients) if ranks > 1 else 0,
    )


def least_stage(alone: Held, ranks: int, room: float) -> int | None:
    """The lowest stage of ZeRO by which each of the ranks fits into `room` bytes; None where none does."""
    return next((stage for stage in STAGES if divided(alone, stage, ranks).total <= room), None)


def fewest_ranks(alone: Held, stage: int, room: float, most: int) -> int | None:
    """The smallest power of two of ranks with which a stage fits into `room` bytes each; None beyond `most`."""
    numbers = (2**power for power in range(most.bit_length()))
    return next((ranks for ranks in numbers if ranks <= most and divided(alone, stage, ranks).total <= room), None)


def resident(held: Held) -> float:
    """The resident bytes of a process on a CPU that trains (glibc's allocator). A GPU's allocator keeps less."""
    return PROCESS_BYTES + HEAP * held.total


def surely_fits(config: Any, parameters: int, tokens: int, width: int, item: int, room: float) -> bool:
    """Whether a training fits whatever its method, by a generous bound from the model's config (its text part).

    `tokens` of the largest micro-batch, `width` of its longest example, `item` bytes of a number. Every parameter is
    taken to be trained by AdamW with all its copies (20 bytes). Each token is taken to leave in each layer 16 numbers
    for each place of the hidden and the inner width, and 3 for each head and each token of its row; dense layers leave
    half of that at most. False where the config does not tell.
    """
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    sizes = [getattr(config, name, None) for name in names]
    if not all(isinstance(size, int) for size in sizes):
        return False
    layers, hidden, inner, heads = (int(size or 0) for size in sizes)
    inner *= int(getattr(config, "num_experts_per_tok", None) or 1)
    each = item * layers * (16 * (hidden + inner) + 3 * heads * width)
    return 20 * parameters + tokens * each <= room


def machine_bytes(processes: int) -> float:
    """The memory that each of the ranks on this machine has: that of its GPU, or its share of the machine's own."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(0).total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / processes


def sized(size: float) -> str:
    """Bytes with three digits that count, such as `4.93 GB`, `22 kB` or `1200 GB`; a GB has 10^9 bytes."""
    unit, name = next((one for one in ((1e9, "GB"), (1e6, "MB")) if size >= one[0] / 10), (1e3, "kB"))
    return f"{size / unit:.0f} {name}" if size >= 1000 * unit else f"{size / unit:.3g} {name}"
