"""Rows of one file, one at a time, each with the name by which an error calls it.

The kinds are JSON Lines, JSON (a list), CSV, TSV, Parquet and Arrow, the first four also with .gz. A TSV file has no
quoting (IANA text/tab-separated-values): a line is a row, and quotes are part of the text. Whatever is wrong with a
file becomes a UserError that names the file, and the row where there is one. No library's error comes through, and no
file makes the reader take unbounded memory.
"""

import csv
import gzip
import io
import json
import string
import zlib
from collections.abc import Iterable, Iterator
from json.decoder import WHITESPACE  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

from forgetfilter.data.parquet_pages import check_size, rows_at_once
from forgetfilter.data.told import Told
from forgetfilter.errors import UserError, printable
from forgetfilter.files import named_once

Rows = Iterator[tuple[str, Any]]
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
LINE_END = "\r\n"
LONGEST_LINE = 32 << 20  # bytes
GZIP_FREE, GZIP_RATIO = 64 << 20, 100  # a .gz may grow by so many bytes, and so many times; text grows 3 to 10 times
_DAMAGED = (EOFError, OSError, zlib.error)  # BadGzipFile is an OSError


def suffix(path: Path) -> str:
    """The kind of a file, in lower case and without .gz."""
    suffixes = [part.lower() for part in path.suffixes]
    return suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])


def read_file(path: Path, told: Told) -> Rows:
    """(where, row) of a file: `where` is "FILE line N" or "FILE row N"."""
    return _READERS[suffix(path)](path, told)


class _Unzipped(io.RawIOBase):
    """The content of a .gz file, refused once it is far larger than text gets (a gzip bomb)."""

    def __init__(self, path: Path):
        self._path, self._file = path, gzip.open(path)
        self._left = GZIP_FREE + GZIP_RATIO * path.stat().st_size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise UserError(f"{self._path}: grows more than {GZIP_RATIO} times when unzipped; unzip it yourself")
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _open(path: Path) -> io.BufferedReader:
    try:
        return io.BufferedReader(_Unzipped(path), 1 << 16) if path.suffix.lower() == ".gz" else open(path, "rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _lines(path: Path, blank: str = string.whitespace) -> Iterator[tuple[str, str]]:
    """(where, line) of a file in UTF-8, without blank lines, which hold only characters of `blank`."""
    number = 0
    with _open(path) as handle:
        try:
            while line := handle.readline(LONGEST_LINE + 1):
                number += 1
                where = f"{path} line {number}"
                if len(line) > LONGEST_LINE:
                    raise UserError(f"{where}: longer than {LONGEST_LINE >> 20} MiB, which no example is")
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip(blank):
                    yield where, text
        except (UnicodeDecodeError, *_DAMAGED) as error:
            raise UserError(f"{path} line {number or 1}: cannot be read ({error})") from error


_DECODER = json.JSONDecoder(object_pairs_hook=named_once)
_UNREADABLE = (ValueError, RecursionError)  # JSONDecodeError; a number of more digits than Python takes; nesting


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "a number has thousands of digits" if "digits" in str(error) else str(error)


def _jsonl(path: Path, told: Told) -> Rows:
    for where, line in _lines(path):  # blank lines are those of data/line_blocks.py
        try:
            row = _DECODER.decode(line)
        except _UNREADABLE as error:
            raise UserError(f"{where}: not valid JSON ({_reason(error)})") from error
        yield where, row


def _json(path: Path, told: Told) -> Rows:
    """The objects of a list, parsed one by one."""
    with _open(path) as handle:
        try:
            text = handle.read().decode("utf-8-sig")
        except (UnicodeDecodeError, *_DAMAGED) as error:
            raise UserError(f"{path}: cannot be read ({error})") from error
    number, start = 0, _after_blanks(text, 0)
    if text[start : start + 1] != "[":
        raise UserError(f"{path}: a .json file must hold a list of objects; for one object a line use .jsonl")
    try:
        for number, row in enumerate(_elements(text, start), 1):
            yield f"{path} row {number}", row
    except json.JSONDecodeError as error:
        raise UserError(f"{path} line {error.lineno}: not valid JSON ({error.msg})") from error
    except _UNREADABLE as error:
        raise UserError(f"{path} row {number + 1}: not valid JSON ({_reason(error)})") from error


def _after_blanks(text: str, place: int) -> int:
    return int(WHITESPACE.match(text, place).end())


def _elements(text: str, start: int) -> Iterator[Any]:
    """The elements of a JSON list that begins at `start` and ends the text."""
    place = _after_blanks(text, start + 1)
    ended = text[place : place + 1] == "]"
    while not ended:
        row, place = _DECODER.raw_decode(text, place)
        yield row
        place = _after_blanks(text, place)
        ended = text[place : place + 1] == "]"
        if not ended and text[place : place + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' or ']'", text, place)
        place = place if ended else _after_blanks(text, place + 1)
    if (rest := _after_blanks(text, place + 1)) < len(text):
        raise json.JSONDecodeError("Extra data", text, rest)


def _csv(path: Path, told: Told) -> Rows:
    number = 0
    # Bytes that are no UTF-8 come as surrogates, so that the row is known in which they are.
    with _open(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", newline="") as handle:
        try:
            reader = csv.DictReader(handle, strict=True)
            _check_header(reader.fieldnames or [], f"{path} row 0 (the header)")
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    raise UserError(f"{path} row {number}: its number of fields differs from the header's")
                "".join(row.values()).encode()
                yield f"{path} row {number}", row
        except UnicodeEncodeError as error:
            raise UserError(f"{path} row {number}: cannot be read (not UTF-8)") from error
        except (csv.Error, *_DAMAGED) as error:
            raise UserError(f"{path} row {number + 1}: cannot be read ({error})") from error


def _check_header(names: Iterable[str], where: str) -> None:
    given = list(names)
    if twice := [name for name in given if given.count(name) > 1]:
        raise UserError(f"{where}: the column {printable(twice[0])[:40]!r} is there twice; name each differently")
    try:
        "".join(given).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: cannot be read (not UTF-8)") from error


def _tsv(path: Path, told: Told) -> Rows:
    names, quoted = list[str](), 0
    for where, line in _lines(path, LINE_END):
        cells = line.removesuffix("\n").removesuffix("\r").split("\t")
        if not names:
            names = cells
            _check_header(names, where)
            continue
        if len(cells) != len(names):
            raise UserError(
                f"{where}: its number of fields differs from the header's (a TSV has no quoting: a line is a row)"
            )
        quoted += sum(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)
        yield where, dict(zip(names, cells))
    if quoted:
        told.remarks.append(f"{path}: {quoted} cells stand in quotes, which are part of the text: a TSV has no quoting")


def _parquet(path: Path, told: Told) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        check_size(path, file.metadata)
        # pyarrow's metadata of a damaged column ends the process; reading one row, it is an error
        for group in range(file.num_row_groups):
            next(file.iter_batches(1, row_groups=[group]), None)
        yield from _batches(path, file.schema_arrow.names, file.iter_batches(rows_at_once(path, file.metadata)))
    except UnicodeDecodeError as error:  # of a column's name; values are read one by one
        raise UserError(f"{path}: a column's name cannot be read (not UTF-8)") from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a whole Parquet file ({error})") from error


def _arrow(path: Path, told: Told) -> Rows:
    """A file of datasets' save_to_disk (a stream), or of Arrow's file format."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            if source.read(6) == b"ARROW1":
                file = pa.ipc.open_file(source)
                batches = (file.get_batch(number) for number in range(file.num_record_batches))
                yield from _batches(path, file.schema.names, map(_sound, batches))
            else:
                source.seek(0)
                stream = pa.ipc.open_stream(source)
                yield from _batches(path, stream.schema.names, map(_sound, stream))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: a column's name cannot be read (not UTF-8)") from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a whole Arrow file ({error})") from error


def _sound(batch: Any) -> Any:
    """The batch, whose offsets come from the file as they are: a wrong one would have memory read that is not its."""
    batch.validate(full=True)
    return batch


def _batches(path: Path, names: list[str], batches: Iterable[Any]) -> Rows:
    _check_header(names, str(path))
    number = 0
    for batch in batches:
        for row in _rows(batch, path, number):
            number += 1
            yield f"{path} row {number}", row


def _rows(batch: Any, path: Path, before: int) -> Iterable[Any]:
    """The rows of an Arrow batch; UserError names the first that Python cannot hold, such as one that is no UTF-8."""
    try:
        return list(batch.to_pylist())
    except (ValueError, OverflowError, UnicodeDecodeError):
        for place in range(len(batch)):
            try:
                batch.slice(place, 1).to_pylist()
            except (ValueError, OverflowError, UnicodeDecodeError) as error:
                raise UserError(f"{path} row {before + place + 1}: cannot be read ({error})") from error
        raise


_READERS = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
