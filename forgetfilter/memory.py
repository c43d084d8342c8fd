"""Peak memory of a stage: resident memory of this process or of its largest rank, and of the GPU of this process."""

import contextlib
import gc
import resource
import sys
from pathlib import Path

_PER_GB = 1e9


def start_peak() -> None:
    """Forgets the peaks so far. Where the kernel does not allow it, they stay those of the process's whole life.

    What an earlier stage has left of the GPU's memory is given back: this one may start ranks, or vLLM, beside us.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # 5: the resident peak, nothing else
    torch = sys.modules.get("torch")  # not imported for this alone
    if torch and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb(earlier_ranks: float = 0.0) -> dict[str, float]:
    """`memory_gb`: the largest resident process since `start_peak`, in 10^9 bytes; `gpu_gb` where a GPU was used.

    Ranks on this machine count once they have ended; of these only a new largest one is seen, so that one smaller
    than `earlier_ranks` (the `ranks_gb` before) does not count. Ranks on other machines are not seen.
    """
    own, ranks = _own_peak(), ranks_gb()
    found = {"memory_gb": round(max(own, ranks if ranks > earlier_ranks else 0.0), 2)}
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        found["gpu_gb"] = round(torch.cuda.max_memory_allocated() / _PER_GB, 2)
    return found


def ranks_gb() -> float:
    """The largest resident memory of an ended child process, in 10^9 bytes."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / _PER_GB


def _own_peak() -> float:
    with contextlib.suppress(OSError, StopIteration, IndexError, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / _PER_GB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _PER_GB
