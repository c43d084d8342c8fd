"""The ranks: who am I, how many are we, and what we agree on. One process without a launcher is a world of one.

torch is imported only where ranks meet or a device is asked for: who moves a threshold does not wait for it.
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


@contextmanager
def process_group() -> Iterator[World]:
    """Joins the ranks (NCCL on GPUs, gloo on CPUs), and leaves them at a good end; nothing to join for one process."""
    import torch
    import torch.distributed as dist

    here = world()
    if here.device.type == "cuda":
        torch.cuda.set_device(here.device)
        # torch takes cuDNN's attention on H100 and newer, which plans each new shape anew; packed batches have many
        torch.backends.cuda.enable_cudnn_sdp(False)
    else:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed would look for it, and warn
    joined = here.size > 1 and not dist.is_initialized()
    if joined:
        backend = "cpu:gloo,cuda:nccl" if here.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=datetime.timedelta(hours=2))
    yield here
    # Not after an error: NCCL would wait there for ranks that have not failed.
    if joined and dist.is_initialized():
        dist.destroy_process_group()


def _has_joined() -> bool:
    """Whether there is a group of several ranks. Nobody has joined one who has not imported torch."""
    if "torch" not in sys.modules:
        return False
    import torch.distributed as dist

    return dist.is_initialized() and dist.get_world_size() > 1


def barrier() -> None:
    if _has_joined():
        import torch.distributed as dist

        dist.barrier()


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank. A small collective on the CPU: no GPU synchronisation."""
    if not _has_joined():
        return flag
    import torch
    import torch.distributed as dist

    value = torch.tensor([int(flag)])
    if dist.get_backend() == "nccl":  # a group that someone else made without a CPU backend
        value = value.cuda()
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


def shared(value: Any) -> Any:
    """The main rank's value, on every rank. A collective for small things: they are pickled."""
    if not _has_joined():
        return value
    import torch.distributed as dist

    held = [value]
    dist.broadcast_object_list(held, src=0, device=_cpu_or_none())
    return held[0]


def gathered(value: Any) -> list[Any]:
    """Every rank's value by rank, on every rank. A collective for small things: they are pickled."""
    if not _has_joined():
        return [value]
    import torch.distributed as dist

    held: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(held, value)
    return held


def _cpu_or_none() -> "torch.device | None":
    """The CPU where the group can use it; None lets torch choose (a group of NCCL alone)."""
    import torch
    import torch.distributed as dist

    return None if dist.get_backend() == "nccl" else torch.device("cpu")
