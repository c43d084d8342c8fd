"""The peak memory of this process, resident and on the GPU, in 10^9 bytes: of a stage, and of each pass in it."""

import contextlib
import gc
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PER_GB = 1e9
_earlier: dict[str, float] = {}  # the peaks of the stage before the pass that is going on


def forget_peaks() -> None:
    """Forgets the peaks so far. Where the kernel does not allow this, the peaks are those of the process's whole life.

    GPU memory that an earlier stage left reserved is given back, because this stage may start ranks or vLLM beside this
    process.
    """
    _earlier.clear()
    torch = sys.modules.get("torch")  # torch is not imported for this alone
    if torch and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
    _reset()


def begin_pass_peak() -> None:
    """Begins the peak of a pass anew; that of the stage goes on."""
    _earlier.update(stage_peak())
    _reset()


def pass_peak() -> dict[str, float]:
    """`memory_gb` since `begin_pass_peak`, and `gpu_gb` where a GPU was used."""
    peaks = {"memory_gb": round(_resident(), 2)}
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        peaks["gpu_gb"] = round(torch.cuda.max_memory_allocated() / _PER_GB, 2)
    return peaks


def stage_peak() -> dict[str, float]:
    """`memory_gb` since `forget_peaks`, and `gpu_gb` where a GPU was used."""
    return largest([_earlier, pass_peak()])


def largest(peaks: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """The largest of each peak that is known."""
    names = {name for one in peaks for name, value in one.items() if value is not None}
    return {name: max(one.get(name) or 0.0 for one in peaks) for name in sorted(names)}


def _reset() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # 5 resets the resident peak and nothing else
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def _resident() -> float:
    with contextlib.suppress(OSError, StopIteration, IndexError, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / _PER_GB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _PER_GB
