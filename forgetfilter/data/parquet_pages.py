"""How many rows of a Parquet file are taken at once, so that a small file does not fill the memory.

A dictionary page stores a value once for all rows that have it, so a thousand rows of one long value can fill
gigabytes. Its size stands in its header (Apache Parquet's PageHeader, in Thrift's compact protocol), and no value in it
is longer.
"""

from pathlib import Path
from typing import Any

from forgetfilter.errors import UserError

MOST_ROWS = 1024  # rows at once; more would make nothing faster
MEMORY = 256 << 20  # bytes of dictionary values in the rows that are taken at once
FREE, RATIO = 64 << 20, 100  # a file may grow by so many bytes, and so many times; text grows 3 to 10 times
_DICTIONARY_PAGE = 2  # of the enumeration PageType
_HEADER = 32  # bytes, more than the two numbers take with which a header begins


def check_size(path: Path, metadata: Any) -> None:
    """Raises UserError for a bomb, by the sizes that the file states of its row groups."""
    unzipped = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    if unzipped > FREE + RATIO * path.stat().st_size:
        raise UserError(f"{path}: grows more than {RATIO} times when unzipped; write it anew without compression")


def rows_at_once(path: Path, metadata: Any) -> int:
    """Rows of a batch, by the file's metadata (pyarrow.parquet.FileMetaData)."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [(group.column(number), group.num_rows) for group in groups for number in range(metadata.num_columns)]
    longest = [0] * metadata.num_columns
    with open(path, "rb") as handle:
        for number, (chunk, rows) in enumerate(chunks):
            of_a_row = _longest(handle, chunk) * -(-int(chunk.num_values) // max(1, rows))
            longest[number % len(longest)] = max(longest[number % len(longest)], of_a_row)
    return max(1, min(MOST_ROWS, MEMORY // max(1, sum(longest))))


def _longest(handle: Any, chunk: Any) -> int:
    """Bytes that a value of a column's dictionary may have; 0 without a dictionary."""
    handle.seek(chunk.dictionary_page_offset or chunk.data_page_offset)
    header = handle.read(_HEADER)
    kind, place = _number(header, 0)
    return _number(header, place)[0] if kind == _DICTIONARY_PAGE else 0


def _number(header: bytes, place: int) -> tuple[int, int]:
    """(the 32-bit number of the field that begins at `place`, where the next one begins); 0 where none is there."""
    value, shift = 0, 0
    for at, byte in enumerate(header[place + 1 :], place + 2):  # behind the field's own byte
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value >> 1, at  # zigzag: these are never negative
    return 0, len(header)
