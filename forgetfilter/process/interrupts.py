"""Turns SIGTERM, SIGUSR1, SIGHUP and Ctrl-C into a flag that loops check between two steps.

A further Ctrl-C ends the process at once.
"""

import os
import signal
import stat
from types import FrameType

from forgetfilter.errors import Stopped
from forgetfilter.process.distributed import any_rank

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
_received: list[int] = []


def install() -> None:
    """Installs the handlers of the signals; to be called once, by the process that does the work."""
    for number in caught():
        signal.signal(number, _note)


def caught() -> list[signal.Signals]:
    """The signals that ask to stop, without SIGHUP where nohup made the process ignore it."""
    return [n for n in STOPPING if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]


def _note(number: int, frame: FrameType | None) -> None:
    if _received and number == signal.SIGINT:
        raise KeyboardInterrupt
    remember(number)


def remember(number: int) -> None:
    """Notes a signal that a launcher caught for its ranks, so that the pipeline stops even if the ranks were done."""
    _received.append(number)
    if number == signal.SIGHUP:
        _leave_terminal()


def _leave_terminal() -> None:
    """Redirects output from a terminal that has gone to nowhere; writing to it would fail while the work is saved."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            os.dup2(nowhere, stream)
    os.close(nowhere)


def noted() -> bool:
    """Whether this process was asked to stop, for cutting a wait short; `requested` decides for all ranks."""
    return bool(_received)


def requested() -> bool:
    """Whether any rank was asked to stop. Every rank must call this equally often."""
    return any_rank(bool(_received))


def stop_if_requested(what: str) -> None:
    """Raises Stopped if any rank was asked to stop. To be called between two pieces of work, when all is saved."""
    if requested():
        raise stopped(what)


def stopped(what: str) -> Stopped:
    """The error of work that a signal ended, once everything is saved."""
    return Stopped(f"{what} stopped by a signal; everything is saved, run the same command again to go on")
