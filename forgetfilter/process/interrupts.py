"""SIGTERM, SIGUSR1 and Ctrl-C become a flag that loops look at between two steps; a Ctrl-C after it ends at once."""

import signal
from types import FrameType

from forgetfilter.errors import Stopped
from forgetfilter.process.distributed import any_rank

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_received: list[int] = []


def install() -> None:
    """Catches the signals; to be called once, by the process that does the work."""
    for number in STOPPING:
        signal.signal(number, _note)


def _note(number: int, frame: FrameType | None) -> None:
    if _received and number == signal.SIGINT:
        raise KeyboardInterrupt
    _received.append(number)


def remember(number: int) -> None:
    """Notes a signal that a launcher caught for its ranks, so that the pipeline stops even where these were done."""
    _received.append(number)


def noted() -> bool:
    """Whether this process was asked to stop: to cut a wait short. No collective; `requested` decides for all."""
    return bool(_received)


def requested() -> bool:
    """Whether any rank was asked to stop. Every rank must call it equally often: it is a collective."""
    return any_rank(bool(_received))


def stop_if_requested(what: str) -> None:
    """Raises Stopped between two pieces of work that are already saved."""
    if requested():
        raise Stopped(f"{what} stopped by a signal; everything is saved, run the same command again to go on")
