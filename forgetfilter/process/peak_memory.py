"""The peak memory of a stage's largest process on any machine, resident and on the GPU, in 10^9 bytes."""

import contextlib
import gc
import os
import resource
import sys
from pathlib import Path

from forgetfilter.errors import UserError
from forgetfilter.files import read_json, write_json

_PER_GB = 1e9
_FILE = ".peaks.json"  # the file in the run folder by which ranks tell their peaks to the process that started them


def start_peak(folder: Path) -> None:
    """Forgets the peaks so far. Where the kernel does not allow this, the peaks are those of the process's whole life.

    GPU memory that an earlier stage left reserved is given back, because this stage may start ranks or vLLM beside this
    process.
    """
    (folder / _FILE).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # 5 resets the resident peak and nothing else
    torch = sys.modules.get("torch")  # torch is not imported for this alone
    if torch and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def leave_peaks(folder: Path) -> None:
    """Leaves the peaks of the largest of several ranks in a file; to be called by every rank at the end of its work."""
    if "RANK" not in os.environ:
        return
    from forgetfilter.process.distributed import gathered, world

    peaks = gathered(_own_peaks())
    if world().is_main:
        with contextlib.suppress(OSError, UserError):  # a full disk costs the figure, but not the work
            write_json(folder / _FILE, _largest(peaks))


def peak_gb(folder: Path) -> dict[str, float]:
    """`memory_gb` since `start_peak`, and `gpu_gb` where a GPU was used, of this process or its largest rank.

    Ranks that failed or were stopped do not count, and neither do helper processes that a process starts.
    """
    file, peaks = folder / _FILE, [_own_peaks()]
    with contextlib.suppress(OSError, UserError):
        if file.exists():
            peaks.append(read_json(file))
            file.unlink()
    return _largest(peaks)


def _largest(peaks: list[dict[str, float]]) -> dict[str, float]:
    names = {name for one in peaks for name in one}
    return {name: max(one.get(name, 0.0) for one in peaks) for name in sorted(names)}


def _own_peaks() -> dict[str, float]:
    peaks = {"memory_gb": round(_resident(), 2)}
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        peaks["gpu_gb"] = round(torch.cuda.max_memory_allocated() / _PER_GB, 2)
    return peaks


def _resident() -> float:
    with contextlib.suppress(OSError, StopIteration, IndexError, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / _PER_GB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _PER_GB
