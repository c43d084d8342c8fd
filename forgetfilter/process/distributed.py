"""The ranks of a distributed job: their numbers, and how they exchange values. Without a launcher there is one rank.

torch is imported only where ranks meet or a device is asked for, so that commands without a model need not wait for it.
"""

import datetime
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class World:
    """The place of this process among the ranks, from the variables that torchrun and deepspeed set."""

    rank: int
    size: int
    local_rank: int

    @property
    def device(self) -> "torch.device":
        import torch

        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def world() -> World:
    return World(*(int(os.environ.get(key, default)) for key, default in _VARIABLES))


_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))


WAIT = 7200.0  # seconds


@contextmanager
def process_group(wait: float = WAIT) -> Iterator[World]:
    """Joins the ranks (NCCL on GPUs, gloo on CPUs) and leaves them after success. One process alone joins nothing.

    A rank that waits longer than `wait` seconds for another one, here or in a collective operation, ends with an error.
    """
    import torch
    import torch.distributed as dist

    here = world()
    if here.device.type == "cuda":
        torch.cuda.set_device(here.device)
        # On H100 and newer torch takes cuDNN's attention, which plans each new shape anew; packed batches have many.
        torch.backends.cuda.enable_cudnn_sdp(False)
    else:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed searches for an accelerator and warns
    joined = here.size > 1 and not dist.is_initialized()
    if joined:
        backend = "cpu:gloo,cuda:nccl" if here.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=datetime.timedelta(seconds=wait))
    yield here
    # This is not done after an error, because NCCL would wait for ranks that have not failed.
    if joined and dist.is_initialized():
        dist.destroy_process_group()


def _has_joined() -> bool:
    """Whether this process has joined a group of several ranks, which it cannot have done without torch."""
    if "torch" not in sys.modules:
        return False
    import torch.distributed as dist

    return dist.is_initialized() and dist.get_world_size() > 1


def barrier() -> None:
    if _has_joined():
        import torch.distributed as dist

        dist.barrier()


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank. To be called by every rank; it works on the CPU and waits for no GPU."""
    if not _has_joined():
        return flag
    import torch
    import torch.distributed as dist

    value = torch.tensor([int(flag)])
    if dist.get_backend() == "nccl":  # the group was made elsewhere, without a backend for the CPU
        value = value.cuda()
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


def shared(value: Any) -> Any:
    """The main rank's value, on every rank. To be called by every rank, with small values, because they are pickled."""
    if not _has_joined():
        return value
    import torch.distributed as dist

    held = [value]
    dist.broadcast_object_list(held, src=0, device=_cpu_or_none())
    return held[0]


def gathered(value: Any) -> list[Any]:
    """The values of all ranks, in their order, on every rank.

    To be called by every rank, with small values, because they are pickled.
    """
    if not _has_joined():
        return [value]
    import torch.distributed as dist

    held: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(held, value)
    return held


def _cpu_or_none() -> "torch.device | None":
    """The CPU where the group can use it; else None, with which torch chooses (a group with NCCL alone)."""
    import torch
    import torch.distributed as dist

    return None if dist.get_backend() == "nccl" else torch.device("cpu")
