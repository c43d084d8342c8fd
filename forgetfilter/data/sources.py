"""Rows of a source: a local file, a folder of them, a glob, or a hub data set."""

import glob
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.row_files import SUFFIXES, read_file, suffix
from forgetfilter.data.told import Told
from forgetfilter.data.values import found
from forgetfilter.errors import UserError, printable, reason
from forgetfilter.files import sha256_file, sha256_value

Row = dict[str, Any]
_MAGIC = re.compile(r"[*?\[]")
_SPLITS = {  # words in the names of files and folders that tell their split, as datasets reads them
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_NO_DATA = ("dataset_info.json", "dataset_dict.json", "dataset_infos.json", "state.json")  # of datasets' own folders


def read_rows(source: SourceConfig, key: str) -> Iterator[tuple[str, Row]]:
    """Yields (where, row): `where` is "FILE line N" or "NAME row N".

    `key` is the config key of the source, named where the source itself is missing. Columns are renamed by
    `source.columns`, and reading ends after `source.limit` rows (0: all).
    """
    return renamed(read_originals(source, key), source, key)


def renamed(rows: Iterable[tuple[str, Row]], source: SourceConfig, key: str) -> Iterator[tuple[str, Row]]:
    """The rows with their columns also under the names that `source.columns` gives them, and their roles as
    `source.roles` has them."""
    for where, row in rows:
        for wanted, name in source.columns.items():
            if name not in row and wanted not in row:
                raise UserError(f"{where}: {key}.columns names {name!r}; fields found: {found(row)}")
        named = row | {wanted: row[name] for wanted, name in source.columns.items() if name in row}
        yield where, _with_roles(named, source.roles) if source.roles else named


def _with_roles(row: Row, roles: Mapping[str, str]) -> Row:
    """The row with other names of roles in the messages of each of its fields, of a chat in a cell too."""
    return row | {
        name: chat for name, value in row.items() if (chat := _chat(value)) is not None and _rename(chat, roles)
    }


def _chat(value: Any) -> list[dict[str, Any]] | None:
    """A copy of a list of messages, which may stand as JSON in a text; None for any other value."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list) or not all(isinstance(turn, Mapping) for turn in value):
        return None
    return [dict(turn) for turn in value]


def _rename(chat: list[dict[str, Any]], roles: Mapping[str, str]) -> bool:
    """Renames the roles of a chat in place; whether there was one to rename."""
    places = [(turn, name) for turn in chat for name in ("role", "from") if turn.get(name) in roles]
    for turn, name in places:
        turn[name] = roles[turn[name]]
    return bool(places)


def as_input(settings: Any) -> Any:
    """Settings of sources, as plain values, as an input of a stage. `roles` came later: where it is empty it is left
    out, so that a run that was made before stays done."""
    if isinstance(settings, dict):
        return {key: as_input(value) for key, value in settings.items() if key != "roles" or value}
    return settings


def read_originals(source: SourceConfig, key: str, told: Told | None = None) -> Iterator[tuple[str, Row]]:
    """Like `read_rows`, but each row is as the source has it, without `source.columns`. `told` gets remarks on the
    files."""
    count = 0
    for where, row in _rows(source, key, told or Told()):
        if not isinstance(row, dict):
            raise UserError(f"{where}: each row must be an object with named fields")
        count += 1
        yield where, row
        if source.limit and count >= source.limit:
            return
    if not count:
        raise UserError(f"{source.path} is empty ({key}.path)")


def fingerprint(source: SourceConfig) -> str:
    """The identity of what the rows come from: the hash of the file, the names and hashes of all files, or the hub name
    with its revision."""
    try:
        files = data_files(source, "")
    except UserError as error:  # the caller that reads the source raises it with the key
        return str(error)
    if files == [Path(source.path).expanduser()]:
        return sha256_file(files[0])
    if files:
        return sha256_value([[str(file), sha256_file(file)] for file in files])
    return f"{source.path}@{source.revision or 'main'}/{source.subset or ''}/{source.split}"


def data_files(source: SourceConfig, key: str, told: Told | None = None) -> list[Path]:
    """The local files of a source, sorted by name; an empty list for a hub data set.

    UserError where a local path is missing, or has no file of a known kind.
    """
    if not source.path:
        raise UserError(f"{key}.path is not set: name a local file or a hub data set")
    path = Path(source.path).expanduser()
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError) as error:  # no file can have this name: it is too long, or has a NUL in it
        raise UserError(f"{key}.path is no path: {printable(source.path)[:80]} ({error})") from error
    if is_file:
        return _known([path], key)
    if is_folder:
        return _of_folder(path, source.split, key, told or Told())
    if _MAGIC.search(source.path):
        return _of_glob(path, key, told or Told())
    if path.is_absolute() or suffix(path) in SUFFIXES or source.path.startswith(("./", "../", "~")):
        raise UserError(f"{source.path} is missing ({key}.path)")
    return []


def _known(files: list[Path], key: str) -> list[Path]:
    for path in files:
        if suffix(path) not in SUFFIXES:
            raise UserError(f"{path} ({key}.path): unknown kind of file; known: {', '.join(SUFFIXES)}, plain or .gz")
    return files


def _of_glob(pattern: Path, key: str, told: Told) -> list[Path]:
    names = glob.glob(str(pattern), recursive=True)  # noqa: PTH207 - a Path's own glob takes no absolute pattern
    files = sorted(path for name in names if (path := Path(name)).is_file())
    if not files:
        raise UserError(f"{pattern} matches no file ({key}.path)")
    told.remarks.append(f"{pattern}: {_names(files)}")
    return _known(files, key)


def _of_folder(folder: Path, split: str, key: str, told: Told) -> list[Path]:
    """The data files below a folder that belong to a split by the words in their names; all files where no name has
    such words."""
    below = sorted(path for path in folder.rglob("*") if suffix(path) in SUFFIXES and path.is_file())
    parts = {path: path.relative_to(folder).parts for path in below if path.name not in _NO_DATA}
    files = [path for path, names in parts.items() if not any(name.startswith(".") for name in names)]
    if not files:
        raise UserError(f"{folder} ({key}.path): a folder without data files; known: {', '.join(SUFFIXES)}")
    by_split: dict[str, list[Path]] = {}
    for path in files:
        by_split.setdefault(_split_of(parts[path]), []).append(path)
    chosen = files if [*by_split] == [""] else by_split.get(split, [])
    if not chosen:
        there = "; ".join(f"{name or 'no split'}: {_names(paths)}" for name, paths in sorted(by_split.items()))
        raise UserError(f"{folder} has no file of {key}.split={split} ({there}): set the split, or name the files")
    aside = [path for path in files if path not in set(chosen)]
    told.remarks.append(f"{folder}: {_names(chosen)}{f'; left aside: {_names(aside)}' if aside else ''}")
    return chosen


def _split_of(names: tuple[str, ...]) -> str:
    words = {word for name in names for word in re.split(r"[^a-z]+", name.lower())}
    return next((split for split, tells in _SPLITS.items() if words & {*tells}), "")


def _names(files: list[Path]) -> str:
    """`2 files, a.jsonl and b.jsonl`, or the first and the last of many."""
    if len(files) == 1:
        return files[0].name
    return f"{len(files)} files, {files[0].name}{' to ' if len(files) > 2 else ' and '}{files[-1].name}"


def _rows(source: SourceConfig, key: str, told: Told) -> Iterator[tuple[str, Any]]:
    files = data_files(source, key, told)
    if not files:
        yield from _hub(source, key)
    first: list[str] | None = None
    for path in files:
        for number, (where, row) in enumerate(read_file(path, told)):
            if number == 0 and len(files) > 1 and isinstance(row, dict):
                names = sorted(map(str, row))
                first = first or names
                if names != first:
                    told.remarks.append(f"{path} has other fields than {files[0].name}: {found(row)}")
            yield where, row


def _hub(source: SourceConfig, key: str) -> Iterator[tuple[str, Any]]:
    import datasets

    try:
        rows = datasets.load_dataset(
            source.path, source.subset, split=source.split, revision=source.revision, streaming=source.limit > 0
        )
        for number, row in enumerate(rows, 1):
            yield f"{source.path} row {number}", dict(row)
    except UserError:
        raise
    except Exception as error:  # the hub client raises a dozen unrelated types
        told = f"{source.path!r} ({key}.path) is neither a local file nor a data set to be had from the hub"
        raise UserError(f"{told}: {reason(error)}") from error
