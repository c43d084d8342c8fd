"""Optimizers that keep a float32 copy of each 16-bit weight: small updates would vanish in the weights themselves.

A step takes the gradients in float32, moves the copies and rounds them into the weights. The copies are part of the
optimizer's state, so a resumed training goes on from exactly where it stopped. (DeepSpeed does this by itself.)
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch

from forgetfilter.models.memory import AT_ONCE, STATE_BYTES

HALF = (torch.bfloat16, torch.float16)
MASTERS = "masters"  # in the state
Group = dict[str, Any]


def has_half(model: torch.nn.Module) -> bool:
    """Whether 16-bit weights are trained."""
    return any(weight.dtype in HALF for weight in model.parameters() if weight.requires_grad)


def state_bytes(model: torch.nn.Module, optimizer: str) -> int:
    """What the optimizer of that name will hold of a model, its float32 copies and a part's gradients included."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    copied = 4 * sum(weight.numel() for weight in trained if weight.dtype in HALF)
    return STATE_BYTES[optimizer] * sum(weight.numel() for weight in trained) + copied + min(copied, 4 * AT_ONCE)


def adamw(weights: Sequence[torch.nn.Parameter], copies: bool) -> torch.optim.Optimizer:
    """AdamW as the trainer has it, with its defaults; `copies` of 16-bit weights where there are any."""
    half = copies and any(weight.dtype in HALF for weight in weights)
    kind: Any = with_masters(torch.optim.AdamW) if half else torch.optim.AdamW
    made: torch.optim.Optimizer = kind([{"params": [*weights]}], fused=True)
    return made


@cache
def with_masters(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The optimizer of that kind, on float32 copies of the weights that it is given."""
    return type(f"{kind.__name__}WithMasters", (_Masters, kind), {})


class _Masters(torch.optim.Optimizer):
    """The methods that differ; the class behind it in the order of methods is the optimizer itself."""

    def __init__(self, params: Sequence[Group], **options: Any):
        self.weights: list[torch.nn.Parameter] = [weight for group in params for weight in group["params"]]
        self.masters = [torch.nn.Parameter(weight.detach().float()) for weight in self.weights]
        own = iter(self.masters)
        groups = [group | {"params": [next(own) for _ in group["params"]]} for group in params]
        super().__init__(groups, **options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        assert closure is None
        for part in self._parts():
            for weight, master in part:
                assert weight.grad is not None
                master.grad = weight.grad.float()
            super().step()
            for weight, master in part:
                weight.copy_(master)
                master.grad = None

    def _parts(self) -> Iterator[list[tuple[torch.nn.Parameter, torch.nn.Parameter]]]:
        """The weights that have gradients with their copies, some at a time: an optimizer passes over the others."""
        part, size = list[tuple[torch.nn.Parameter, torch.nn.Parameter]](), 0
        for weight, master in zip(self.weights, self.masters):
            if weight.grad is None:
                continue
            part.append((weight, master))
            size += weight.numel()
            if size >= AT_ONCE:
                yield part
                part, size = [], 0
        if part:
            yield part

    def zero_grad(self, set_to_none: bool = True) -> None:
        for weight in self.weights:
            weight.grad = None

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {MASTERS: [master.detach() for master in self.masters]}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A state without copies is of a training that had none; then they stay as the weights are."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key != MASTERS})
        for weight, master, stored in zip(self.weights, self.masters, state_dict.get(MASTERS, [])):
            master.copy_(stored)
            weight.copy_(stored)
