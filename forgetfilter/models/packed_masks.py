"""Tells transformers whether a batch is packed, so that no forward pass asks the device.

transformers looks whether the positions of a row restart, to skip a mask that hides nothing, and waits for the device
to answer in each forward pass, whatever the attention is. A batch of data/batches.py knows: Python runs ahead instead.
"""

from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, partial

import torch

NAME = "find_packed_sequence_indices"  # transformers' function; a version without it asks, as before
Find = Callable[[torch.Tensor], torch.Tensor | None]
_packed: ContextVar[bool | None] = ContextVar("packed", default=None)


@cache
def install() -> None:
    """Has transformers look here first."""
    from transformers import masking_utils

    if asks := getattr(masking_utils, NAME, None):
        setattr(masking_utils, NAME, partial(found, asks))


def tell(packed: bool | None) -> None:
    """From now on a batch is taken as `packed`; None: the device is asked, as for whatever is not a batch of ours."""
    _packed.set(packed)


def found(asks: Find, position_ids: torch.Tensor) -> torch.Tensor | None:
    """[B, T] the number of the example in its row that each token is of; None where each row has but one. `asks` is
    transformers' own function."""
    packed = _packed.get()
    if packed is None:
        return asks(position_ids)
    if not packed:
        return None
    before = torch.cat([position_ids[:, :1] - 1, position_ids[:, :-1]], dim=1)
    return (position_ids - before != 1).cumsum(-1)
