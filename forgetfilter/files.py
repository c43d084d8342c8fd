"""Files that are whole or absent (written under a temporary name, synced, renamed), their hashes, and file locks."""

import contextlib
import errno
import glob
import hashlib
import importlib.util
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from forgetfilter.errors import UserError, printable

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
_SCRATCH = re.compile(r"\.(filter|dropped|ranks)-\w+")  # folders of the filter, as large as the data, and of a launcher


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` once the block ends without an error."""
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # below a file where a folder should be, even this fails
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.parent / f".{path.name}.{os.getpid()}.tmp"  # as _TEMPORARY has it


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yields a name for a temporary folder beside `path`, and removes the folder in the end. Those that killed
    processes left there are removed first."""
    temporary = _temporary(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if _TEMPORARY.fullmatch(left.name) and (left == temporary or not _runs(int(left.name.split(".")[-2]))):
            shutil.rmtree(left, ignore_errors=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder's name beside `path`; it takes the place of `path` once the block ends without an
    error."""
    with scratch_folder(path) as temporary:
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)


def _runs(process: int) -> bool:
    """Whether there is a process of this number here. One on another machine, which writes to the same place at the
    same time, would not be seen."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def remove_left_over(folder: Path) -> None:
    """Removes what killed processes left in a folder, temporary files and scratch folders. Nobody else may be writing
    there."""
    for parent, folders, names in os.walk(folder):
        for name in [name for name in folders if _SCRATCH.fullmatch(name) or _TEMPORARY.fullmatch(name)]:
            folders.remove(name)
            shutil.rmtree(Path(parent) / name, ignore_errors=True)
        for name in names:
            if _TEMPORARY.fullmatch(name):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(parent, name))  # noqa: PTH108, PTH118 - a run may have 10^5 files


_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_PLACE = (  # of a path that is no readable or writable file, or lies on a disk or a server that fails
    *(errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE),
)
_DISK_WORDS = (
    "No space left",
    "os error 28",
    "quota exceeded",
    "Read-only file system",
    "PytorchStreamWriter failed",
    "iostream error",  # torch.save's own stream, which was cut short
)
_ROOM = "make room or set output, and run the same command again"


def disk_trouble(error: BaseException | None) -> str | None:
    """What the disk refused and what to do, where an error or one behind it says so; None for errors of other kinds.

    torch, safetensors, Arrow and Polars each have a type of their own for it, with the reason in the words alone.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK:
            return f"{error.filename or 'a file'} cannot be written: {error.strerror}; {_ROOM}"
        if word := next((word for word in _DISK_WORDS if word in str(error)), None):
            return f"a file cannot be written ({word}); {_ROOM}"
        error = error.__cause__ or error.__context__
    return None


def path_trouble(error: Exception) -> str | None:
    """What is wrong with the path that an error is about, and what to do; None for errors of other kinds."""
    if isinstance(error, OSError) and error.errno in _PLACE:
        return f"{error.filename or 'a file'}: {error.strerror}; look at that path, and run the same command again"
    return None


def write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted keys, so that equal values give equal bytes; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing") from error
    except (ValueError, RecursionError) as error:
        line, why = getattr(error, "lineno", 1), getattr(error, "msg", type(error).__name__)
        raise UserError(f"{path} line {line}: not valid JSON ({why})") from error


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object that the project has written; UserError where the file holds something else."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no JSON object, so it is not as it was made")
    return found


def named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, for `object_pairs_hook`. Raises ValueError where a name is there twice, since Python would keep
    only its last value."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {printable(twice)[:40]!r} is there twice")
    return made


def sha256_file(path: Path) -> str:
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def stamp(path: Path) -> list[int]:
    """Size, both times and the number on the disk, by which a file counts as untouched. A writer can set the time at
    which the content changed, but not that of the inode, and a file that is moved into place has another inode."""
    seen = path.stat()
    return [seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino]


def sha256_value(value: Any) -> str:
    """The hash of any JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time makes a cache folder; the others wait for it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cache: {folder.parent} cannot be written: {error.strerror}") from error
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        yield


def package_folder(name: str) -> Path | None:
    """The folder of an installed package, which is found and not imported: only its files are wanted, and an import may
    need more than there is. None where it is not installed."""
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def finite(value: Any) -> Any:
    """A JSON value with null in the place of NaN and infinities."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
