"""How many tokens of a forward pass a GPU's memory holds, by a short measured probe.

Two passes over rows of the longest example's width, the second over twice as many, give the bytes that a row more
takes. What is free then tells how many rows fit. On a CPU nothing is measured, and a setting `auto` is a fixed number.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from forgetfilter.config.schema import ANSWERS
from forgetfilter.errors import UserError
from forgetfilter.files import read_json, write_json
from forgetfilter.models.pretrained import load_config
from forgetfilter.process.distributed import barrier, gathered, shared, world

PROBED = 2048  # tokens of the first pass of a probe, about
SAFE = 0.9  # of what is free: the allocator leaves holes, and batches are not all alike
MOST = 32768  # tokens: a GPU is busy with fewer, and more gain nothing
MOST_ANSWERS = 512  # that are written together
CACHE = 0.4  # of a GPU's memory, for their keys and values: the weights and the prompts' activations need the rest
TOO_SMALL = (
    "the GPU's memory does not hold one row of {} tokens: lower data.max_length, set "
    "train.gradient_checkpointing=true, or choose train.method=qlora or a higher train.deepspeed stage"
)


def fitting_tokens(cost: Callable[[int], int], free: Callable[[], int], width: int) -> int:
    """The most tokens of a pass, MOST or less, and `width` at least.

    `cost` gives the bytes that a pass over so many rows of `width` tokens takes at its peak, and may raise
    OutOfMemoryError; `free` the bytes that are free beside what stays allocated. UserError where one row does not fit.
    """
    rows = max(1, PROBED // width)
    while (few := _cost(cost, rows)) is None:
        if rows == 1:
            raise UserError(TOO_SMALL.format(width))
        rows //= 2
    if (many := _cost(cost, 2 * rows)) is None:
        return rows * width
    more = max(1, many - few) / rows  # bytes of one row more
    fitting = rows + max(0, int((SAFE * free() - few) / more))
    return max(width, min(MOST, fitting * width))


def _cost(cost: Callable[[int], int], rows: int) -> int | None:
    try:
        return cost(rows)
    except torch.OutOfMemoryError:
        return None


def peak_bytes(work: Callable[[], Any], device: torch.device) -> int:
    """How far a GPU's allocated memory rises while the work is done."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def free_bytes(device: torch.device) -> int:
    """What a GPU can still allocate, of what this process holds unused too."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


def answers_at_once(setting: int | str, folder: Path, tokens: int, device: torch.device) -> int:
    """How many prompts are answered together: a number itself; by `auto` ANSWERS on a CPU, and on a GPU as many as have
    their keys and values, of so many tokens each, in CACHE of all its memory.

    A function of model and cards alone, since in low precision an answer depends on who shares its batch; a collective,
    since all ranks follow one plan.
    """
    if not isinstance(setting, str):
        return setting
    if device.type != "cuda":
        return ANSWERS
    held = int(CACHE * torch.cuda.get_device_properties(device).total_memory) // (tokens * _cached_bytes(folder))
    least: int = min(gathered(min(MOST_ANSWERS, max(1, held))))
    return least


def _cached_bytes(folder: Path) -> int:
    """Bytes of a token's keys and values in 16 bits, over all layers."""
    own = load_config(folder, "model.name").get_text_config()
    heads = getattr(own, "num_key_value_heads", None) or own.num_attention_heads
    width = getattr(own, "head_dim", None) or own.hidden_size // own.num_attention_heads
    return int(2 * 2 * own.num_hidden_layers * heads * width)


def noted_tokens(setting: int | str, default: int, note: Path) -> int:
    """What a setting stands for: a number itself, `auto` what the note of the run says, or the default without one."""
    if not isinstance(setting, str):
        return setting
    return int(shared(read_json(note)["tokens"] if world().is_main and note.exists() else default))


def note_tokens(note: Path, tokens: int) -> int:
    """Fixes what `auto` stands for in a run, by the rank that has least room, and returns it; a collective."""
    least: int = min(gathered(tokens))
    if world().is_main:
        write_json(note, {"tokens": least})
    barrier()
    return least
