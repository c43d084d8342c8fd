"""Faults inside of a process: at its N-th call that changes the disk it is killed, the disk is full, and so on.

The calls are those by which the project and the libraries make files whole: open for writing, fsync, rename, unlink
and the saves of torch and Parquet. What a kill leaves of a file in the midst of its bytes is tried by kills at random.
"""

import builtins
import datetime
import errno
import io
import os
import signal
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGHUP": signal.SIGHUP}
ERRORS = {"disk full": errno.ENOSPC, "read-only": errno.EROFS}
PAUSE = 1.0  # seconds in which a second process comes
BACK = datetime.timedelta(days=3)

_calls = 0


def install(kind: str, at: int, folder: str, counts: str | None = None) -> None:
    """Arms a fault at the call `at`, counted from 0; `folder` is that of the run. `counts`: the file that gets the
    number of calls as they are made."""
    if kind == "clock set back":
        _set_back()
        return

    def before(name: str, path: object) -> None:
        global _calls
        number, _calls = _calls, _calls + 1
        if counts:
            Path(counts).write_bytes(b"%d" % _calls)
        elif number == at and kind in SIGNALS:
            os.kill(os.getpid(), SIGNALS[kind])
        elif number == at and kind == "second process":
            time.sleep(PAUSE)
        elif number == at and kind == "renamed folder":
            _REAL["rename"](folder, f"{folder}-moved")
        elif number >= at and kind in ERRORS and (kind == "read-only" or name != "unlink"):
            raise OSError(ERRORS[kind], os.strerror(ERRORS[kind]), str(path))

    _wrap(before)


_REAL = {"rename": os.rename}


def _wrap(before: Callable[[str, object], None]) -> None:
    import pyarrow.parquet
    import torch

    counting = False

    def wrapped(owner: Any, name: str, writes: Callable[..., bool] = lambda *a, **k: True) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            nonlocal counting
            if counting or not writes(*args, **options):  # not within a call that counts
                return real(*args, **options)
            counting = True
            try:
                before(name, args[0] if args else "")
                return real(*args, **options)
            finally:
                counting = False

        setattr(owner, name, call)

    def for_writing(path: object, mode: str = "r", *args: Any, **options: Any) -> bool:
        return bool(set(mode) & set("wax+")) and not str(path).startswith(("/dev", "/proc"))

    wrapped(builtins, "open", for_writing)
    wrapped(io, "open", for_writing)
    for name in ("replace", "rename", "fsync", "unlink"):
        wrapped(os, name)
    wrapped(torch, "save")
    wrapped(pyarrow.parquet, "write_table")


def _set_back() -> None:
    """The clock shows a time three days ago."""
    from forgetfilter.storage import run_folder

    class Earlier(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Earlier":
            shown = datetime.datetime.now(tz) - BACK
            return cls(*shown.timetuple()[:6], tzinfo=tz)

    clock = time.time
    time.time = lambda: clock() - BACK.total_seconds()  # type: ignore[assignment]
    run_folder.datetime = types.SimpleNamespace(datetime=Earlier, UTC=datetime.UTC)  # type: ignore[attr-defined]
