"""One process at a time works on a run folder, on whatever machine: a lock file that names who holds it.

A holder on this machine is alive while its process is. One on another machine touches the file every BEAT seconds; who
sees it unchanged for PATIENCE seconds takes the lock over. Both need no clock that machines share, and no file system
that knows locks: a file is created for one process only, and renamed by one only.
"""

import contextlib
import datetime
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forgetfilter.errors import UserError, printable
from forgetfilter.files import remove_left_over
from forgetfilter.process.progress import console

BEAT, PATIENCE = 10.0, 90.0  # seconds; network file systems show a change after up to 60
NAME = ".lock"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds the run folder, which is made where it is missing. UserError names who holds it already."""
    path, own = folder / NAME, {"token": secrets.token_hex(8), **_whoami()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while not _created(path, own):
            _remove_dead(path)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error
    ended = threading.Event()
    threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
    there = _which(folder)
    try:
        remove_left_over(folder)
        yield
    except Exception as error:
        if _which(folder) != there:
            raise UserError(_gone(folder)) from error
        raise
    else:
        if _which(folder) != there:
            raise UserError(_gone(folder))
    finally:
        ended.set()
        if _read(path).get("token") == own["token"]:  # not one that was taken over while we were suspended
            with contextlib.suppress(OSError):
                path.unlink()


def _which(folder: Path) -> tuple[int, int] | None:
    """The folder itself, whatever its name; None where it is not there."""
    try:
        seen = folder.stat()
    except OSError:
        return None
    return seen.st_dev, seen.st_ino


def _gone(folder: Path) -> str:
    """Of a folder that is not the one that was held. What was still written may stand in a new one of its name."""
    return f"{folder} was renamed or deleted while it was worked on: put it back in its place and run the command again"


def _created(path: Path, own: dict[str, Any]) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(own, file)
    except OSError:  # a full disk takes the name alone: a lock of nobody, which the next process would wait for
        path.unlink(missing_ok=True)
        raise
    return True


def _remove_dead(path: Path) -> None:
    """Removes the lock of a process that is gone. UserError where it is alive."""
    holder = _read(path)
    if _alive(path, holder):
        holder = holder or _read(path)
        who = printable(f"process {holder.get('pid', '?')} on {holder.get('host', 'another machine')}")
        since = f" since {printable(str(holder['since']))}" if "since" in holder else ""
        raise UserError(f"{path.parent} is being worked on by {who}{since}: wait until it is done, or end it")
    aside = path.with_name(f"{NAME}.{secrets.token_hex(8)}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        if _read(aside).get("token") == holder.get("token"):
            aside.unlink()
        else:  # another process was faster, and this is its lock
            aside.rename(path)


def _alive(path: Path, holder: dict[str, Any]) -> bool:
    here = _whoami()
    if here["started"] and holder.get("machine") == here["machine"]:
        return bool(holder.get("started") == _started(holder.get("pid", 0)))
    if holder:
        console.print(f"{path.parent} is held by {holder.get('host')}: looking whether it is alive, {PATIENCE:.0f} s")
    seen, end = _touched(path), time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(min(1.0, PATIENCE / 10))
        if (now := _touched(path)) != seen:
            return now is not None  # gone meanwhile, or touched
    return False


def _touched(path: Path) -> int | None:
    """The time of the last beat, of the holder's clock; None where there is no lock any more."""
    try:
        with open(path, "rb") as handle:  # opened, since network file systems look anew only then
            return os.fstat(handle.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)


def _read(path: Path) -> dict[str, Any]:
    """Who holds the lock; empty where that cannot be read, as between its creation and its content."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _whoami() -> dict[str, Any]:
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "since": since,
    }


def _machine() -> str:
    """What has process numbers of its own: this boot of this machine, and the container."""
    found = socket.gethostname()
    with contextlib.suppress(OSError):
        found += Path("/proc/sys/kernel/random/boot_id").read_text().strip() + str(Path("/proc/self/ns/pid").readlink())
    return found


def _started(pid: int) -> str | None:
    """When a process started, in ticks since the boot: a number that is used again is another process. None without."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    return None
