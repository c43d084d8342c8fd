"""SIGTERM, SIGUSR1, SIGHUP and Ctrl-C become a flag that loops look at between two steps; a Ctrl-C after it ends at
once."""

import os
import signal
import stat
from types import FrameType

from forgetfilter.errors import Stopped
from forgetfilter.process.distributed import any_rank

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
_received: list[int] = []


def install() -> None:
    """Catches the signals; to be called once, by the process that does the work."""
    for number in caught():
        signal.signal(number, _note)


def caught() -> list[signal.Signals]:
    """The signals that ask to stop; not SIGHUP where nohup has it ignored."""
    return [n for n in STOPPING if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]


def _note(number: int, frame: FrameType | None) -> None:
    if _received and number == signal.SIGINT:
        raise KeyboardInterrupt
    remember(number)


def remember(number: int) -> None:
    """Notes a signal that a launcher caught for its ranks, so that the pipeline stops even where these were done."""
    _received.append(number)
    if number == signal.SIGHUP:
        _leave_terminal()


def _leave_terminal() -> None:
    """What is said goes nowhere once the terminal has gone: writing to it would be an error in the midst of saving."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            os.dup2(nowhere, stream)
    os.close(nowhere)


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
