"""Rows from a local file or a hub data set, one at a time, each with the name by which an error calls it."""

import csv
import gzip
import io
import json
import string
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from forgetfilter.config.schema import SourceConfig
from forgetfilter.errors import UserError
from forgetfilter.files import sha256_file

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
UNREADABLE = (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error, csv.Error)


def read_rows(source: SourceConfig, key: str) -> Iterator[tuple[str, Row]]:
    """Yields (where, row): `where` is "FILE line N" or "NAME row N".

    `key` is the config key of the source, named where the source itself is missing. Columns are renamed by
    `source.columns`, and reading ends after `source.limit` rows (0: all).
    """
    return renamed(read_originals(source, key), source, key)


def renamed(rows: Iterable[tuple[str, Row]], source: SourceConfig, key: str) -> Iterator[tuple[str, Row]]:
    """The rows with their columns also under the names that `source.columns` gives them."""
    for where, row in rows:
        for given in source.columns.values():
            if given not in row:
                raise UserError(f"{where}: {key}.columns names {given!r}; fields found: {', '.join(sorted(row))}")
        yield where, row | {wanted: row[given] for wanted, given in source.columns.items()}


def read_originals(source: SourceConfig, key: str) -> Iterator[tuple[str, Row]]:
    """As `read_rows`, each row as it is in the source, without `source.columns`."""
    if not source.path:
        raise UserError(f"{key}.path is not set: name a local file or a hub data set")
    count = 0
    for where, row in _rows(source, key):
        if not isinstance(row, dict):
            raise UserError(f"{where}: each row must be an object with named fields")
        count += 1
        yield where, row
        if source.limit and count >= source.limit:
            return
    if not count:
        raise UserError(f"{source.path} is empty ({key}.path)")


def fingerprint(source: SourceConfig) -> str:
    """What the rows come from: the file's hash, or the hub name with its revision."""
    path = Path(source.path).expanduser()
    if path.is_file():
        return sha256_file(path)
    return f"{source.path}@{source.revision or 'main'}/{source.subset or ''}/{source.split}"


def _rows(source: SourceConfig, key: str) -> Iterator[tuple[str, Any]]:
    path = Path(source.path).expanduser()
    suffix = (path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix).lower()
    if path.is_file():
        if suffix not in SUFFIXES:
            raise UserError(f"{path} ({key}.path): unknown kind of file; known: {', '.join(SUFFIXES)}, plain or .gz")
        return _READERS[suffix](path)
    if path.is_absolute() or suffix in SUFFIXES or source.path.startswith(("./", "../", "~")):
        raise UserError(f"{source.path} is missing ({key}.path)")
    return _hub(source, key)


def _open(path: Path, newline: str = "") -> io.TextIOBase:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)  # type: ignore[return-value]
    return open(path, encoding="utf-8-sig", newline=newline)  # type: ignore[return-value]


def _jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    with _open(path, newline="\n") as handle:  # lines and blank ones as filter/table/blocks.py has them
        number = 0
        try:
            for number, line in enumerate(handle, 1):
                if line.strip(string.whitespace):
                    yield f"{path} line {number}", json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path} line {number}: not valid JSON ({error.msg})") from error
        except UNREADABLE as error:
            raise UserError(f"{path} line {number + 1}: cannot be read ({error})") from error


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        with _open(path) as handle:
            rows = json.load(handle)
    except json.JSONDecodeError as error:
        raise UserError(f"{path} line {error.lineno}: not valid JSON ({error.msg})") from error
    except UNREADABLE as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if not isinstance(rows, list):
        raise UserError(f"{path}: a .json file must hold a list of objects; for one object a line use .jsonl")
    for number, row in enumerate(rows, 1):
        yield f"{path} row {number}", row


def _csv(path: Path) -> Iterator[tuple[str, Any]]:
    tabbed, number = ".tsv" in path.suffixes, 0
    with _open(path) as handle:
        try:
            for number, row in enumerate(csv.DictReader(handle, delimiter="\t" if tabbed else ","), 1):
                if None in row or None in row.values():
                    raise UserError(f"{path} row {number}: its number of fields differs from the header's")
                yield f"{path} row {number}", row
        except UNREADABLE as error:
            raise UserError(f"{path} row {number + 1}: cannot be read ({error})") from error


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches(1024):
            for row in batch.to_pylist():
                number += 1
                yield f"{path} row {number}", row
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: not a whole Parquet file ({error})") from error


_READERS = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}


def _hub(source: SourceConfig, key: str) -> Iterator[tuple[str, Any]]:
    import datasets

    try:
        rows = datasets.load_dataset(
            source.path, source.subset, split=source.split, revision=source.revision, streaming=source.limit > 0
        )
    except Exception as error:  # the hub client raises a dozen unrelated types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{source.path!r} ({key}.path) is neither a local file nor a data set to be had from the hub: {reason}"
        ) from error
    for number, row in enumerate(rows, 1):
        yield f"{source.path} row {number}", dict(row)
