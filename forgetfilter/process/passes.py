"""What each pass over data took: its tokens, its padding, its seconds and its peak memory.

Nothing here waits for a GPU. Tokens and positions are counted where batches are planned and made, and seconds are those
of the process, which on a GPU runs ahead of what is computed.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from forgetfilter.errors import UserError
from forgetfilter.files import read_json, write_json
from forgetfilter.process.distributed import gathered, world
from forgetfilter.process.peak_memory import begin_pass_peak, forget_peaks, largest, pass_peak, stage_peak

_FILE = ".measures.json"  # in the run folder: what ranks took, for the process that started them


@dataclass
class Pass:
    """What a pass took, by all ranks together. Of one that was resumed this is the last part alone."""

    tokens: int = 0
    """Without padding: the tokens of the examples, or those of the answers where answers are generated."""
    seconds: float = 0.0
    """Of the slowest rank, without the loading of the model."""
    positions: int = 0
    """Places in the batches of examples, padding included; 0 where answers are generated."""
    padding: int = 0
    """Those of them that hold no token."""
    data_seconds: float = 0.0
    """In which the process made or waited for batches; of the slowest rank."""
    log_seconds: float = 0.0
    """In which the process kept and wrote losses for the loss log; of the slowest rank."""
    operations: float = 0.0
    """Of the model for these tokens, without what is computed again; 0 where they are not counted."""
    ceiling: float | None = None
    """Operations a second that the device of one rank does at most; None where it was not measured."""
    ranks: int = 1
    whole: bool = True
    """Whether it was neither resumed nor stopped."""
    answers: bool = False
    """Whether the tokens are those of generated answers."""
    memory_gb: float | None = None
    gpu_gb: float | None = None
    """Peaks, in 10^9 bytes; of the largest rank."""

    @classmethod
    def read(cls, told: dict[str, Any]) -> "Pass":
        """From a value of state.json or card.json."""
        return cls(**{known.name: told[known.name] for known in fields(cls) if known.name in told})

    @property
    def tokens_per_second(self) -> float | None:
        return self.tokens / self.seconds if self.seconds else None

    @property
    def ceiling_share(self) -> float | None:
        """Of what all devices could have done in this time."""
        return share_of_ceiling(self.operations, self.seconds, self.ceiling, self.ranks)

    @property
    def padded_share(self) -> float | None:
        return self.padding / self.positions if self.positions else None


def share_of_ceiling(operations: float, seconds: float, ceiling: float | None, ranks: int) -> float | None:
    """None where one of them is unknown, or where more than the ceiling was done: then that was measured on a device
    that had other work, and says nothing."""
    if not ceiling or not operations or not seconds:
        return None
    share = operations / (seconds * ceiling * ranks)
    return share if share <= 1 else None


_now = Pass()  # what is counted outside of any pass is never told
_ended: dict[str, Pass] = {}  # by what the progress calls the pass


def begin_pass() -> Pass:
    """A new pass, for which everything is counted that comes now."""
    global _now
    begin_pass_peak()
    _now = Pass(ranks=world().size)
    return _now


def end_pass(what: str, done: Pass) -> None:
    """Keeps what a pass over tokens took, for `leave_measures` and `measured`."""
    if done.tokens:
        peaks, told = pass_peak(), replace(done, seconds=round(done.seconds, 3))
        told.data_seconds, told.log_seconds = round(done.data_seconds, 3), round(done.log_seconds, 3)
        _ended[what] = replace(told, memory_gb=peaks["memory_gb"], gpu_gb=peaks.get("gpu_gb"))


def count_batch(tokens: int, positions: int) -> None:
    """Counts a batch of this rank with so many places, `tokens` of which hold a token of an example."""
    _now.positions += positions
    _now.padding += positions - tokens


@contextmanager
def making_data() -> Iterator[None]:
    """Counts the seconds of the work within it as those for data."""
    start = time.monotonic()
    yield
    _now.data_seconds += time.monotonic() - start


@contextmanager
def logging_losses() -> Iterator[None]:
    """Counts the seconds of the work within it as those of the loss log."""
    start = time.monotonic()
    yield
    _now.log_seconds += time.monotonic() - start


def start_measures(folder: Path) -> None:
    """Forgets what earlier stages took."""
    (folder / _FILE).unlink(missing_ok=True)
    _ended.clear()
    forget_peaks()


def leave_measures(folder: Path) -> None:
    """Leaves in a file what several ranks took; to be called by every rank at the end of its work."""
    if "RANK" not in os.environ:
        return
    found = gathered((stage_peak(), _ended))
    if world().is_main:
        with contextlib.suppress(OSError, UserError):  # a full disk costs the figures, but not the work
            passes = {name: asdict(_of_ranks([done[name] for _, done in found])) for name in _ended}
            write_json(folder / _FILE, {"peaks": largest([peaks for peaks, _ in found]), "passes": passes})


def measured(folder: Path) -> dict[str, Any]:
    """What was taken since `start_measures` by this process and by its ranks that left it: `memory_gb`, `gpu_gb` where
    a GPU was used (both of the largest process), and `passes`, {NAME: the values of a Pass}.

    Ranks that failed or were stopped do not count, and neither do helper processes that a process starts.
    """
    file, peaks, passes = folder / _FILE, [stage_peak()], {name: asdict(done) for name, done in _ended.items()}
    with contextlib.suppress(OSError, UserError):
        if file.exists():
            left = read_json(file)
            peaks.append(left["peaks"])
            passes |= left["passes"]
            file.unlink()
    return {**largest(peaks), "passes": passes}


def _of_ranks(told: Sequence[Pass]) -> Pass:
    """What all ranks took together in one pass, the tokens of which each of them counts for all."""
    peaks = largest([{"memory_gb": one.memory_gb, "gpu_gb": one.gpu_gb} for one in told])
    return replace(
        told[0],
        seconds=max(one.seconds for one in told),
        positions=sum(one.positions for one in told),
        padding=sum(one.padding for one in told),
        data_seconds=max(one.data_seconds for one in told),
        log_seconds=max(one.log_seconds for one in told),
        memory_gb=peaks.get("memory_gb"),
        gpu_gb=peaks.get("gpu_gb"),
    )
