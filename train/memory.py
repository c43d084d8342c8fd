"""How many tokens a micro-batch has: measured before a training on a GPU, and fewer where its memory is full then."""

import contextlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from forgetfilter.data.batches import Batch, MicroBatches, collate
from forgetfilter.data.turns import after_prompt
from forgetfilter.errors import UserError
from forgetfilter.models.example_losses import attach, to_device
from forgetfilter.models.fitting import TOO_SMALL, fitting_tokens, free_bytes, peak_bytes
from forgetfilter.process.progress import console

NO_BOUND = 2**62


def measured_tokens(
    model: torch.nn.Module,
    width: int,
    layout: str,
    device: torch.device,
    autocast: torch.dtype | None,
    state_bytes: int,
) -> int:
    """The most tokens that a micro-batch can have on this GPU; `model` must not be attached.

    `width`: tokens of the longest example. `state_bytes`: what the optimizer will allocate in its first step.
    UserError where not even the longest example fits.
    """
    detach = attach(model.train())

    def cost(rows: int) -> int:
        batch = collate([after_prompt([1] * width, 1)] * rows, range(rows), layout, 0)
        return peak_bytes(lambda: _pass(model, batch, device, autocast), device)

    try:
        with torch.random.fork_rng(
            devices=[device] if device.type == "cuda" else []
        ):  # dropout draws, and the training must not know
            with contextlib.suppress(torch.OutOfMemoryError):
                cost(1)  # the gradients, and what libraries keep for themselves, are allocated now
            return fitting_tokens(cost, lambda: free_bytes(device) - state_bytes, width)
    finally:
        detach()
        model.zero_grad()
        torch.cuda.empty_cache()


def _pass(model: torch.nn.Module, batch: Batch, device: torch.device, autocast: torch.dtype | None) -> None:
    with torch.autocast(device.type, autocast, enabled=autocast is not None):
        loss = model(**to_device(batch, device))["loss"]
    loss.backward()


class Room:
    """Cuts micro-batches into pieces that fit, once one did not. A step's tokens, normaliser and loss stay the same."""

    def __init__(self, batches: MicroBatches):
        self.batches, self.most = batches, NO_BOUND
        self.tried = 0  # what the piece that is computed now takes of the budget

    def pieces(self, batch: Batch) -> list[Batch]:
        return self.batches.split(batch, self.most)

    def tokens(self, piece: Batch) -> int:
        """Without padding."""
        return int(self.batches.plan.lengths[_rows(piece)].sum())

    def taken(self, piece: Batch) -> int:
        """What it takes of the budget: its tokens, or its places where examples are padded."""
        return self.batches.plan.taken(_rows(piece))

    def shrink(self, step: int) -> None:
        """After the piece that was tried was too large. UserError where it cannot be cut, as it is one example."""
        if self.most <= self.batches.longest:
            raise UserError(TOO_SMALL.format(self.tried))
        self.most = max(self.batches.longest, min(self.most, self.tried) // 2)
        console.print(
            f"the GPU's memory is full with {self.tried} tokens in a micro-batch: from step {step} on it has at most "
            f"{self.most}, and the steps stay the same (train.micro_batch_tokens={self.most} does so from the start)"
        )


def _rows(piece: Batch) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = piece["rows"].numpy()
    return rows[rows >= 0]


def redone(work: Callable[[Batch], torch.Tensor], batches: list[Batch], again: Callable[[], None]) -> torch.Tensor:
    """The loss of the last of a step's micro-batches, of which the others are done. Where the memory is full, `again`
    is called to undo and to make room, and all of them are done again."""
    todo = batches[-1:]
    while True:
        with contextlib.suppress(torch.OutOfMemoryError):
            return [work(batch) for batch in todo][-1]
        # here, outside of the error's handling: its traceback kept the tensors of the pass alive
        again()
        todo = batches
