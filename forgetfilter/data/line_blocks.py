"""Reads files of lines in blocks, without a loop over the lines, however many there are."""

import codecs
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK = 32 << 20  # bytes read at a time


def lines(path: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Yields (bytes, length of each line with its end) of blocks of whole lines, without blank lines.

    A byte order mark is left out too.
    """
    rest = b""
    with open(path, "rb") as handle:
        if handle.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            handle.seek(0)
        while block := handle.read(BLOCK):
            head, newline, tail = (rest + block).rpartition(b"\n")
            rest = tail
            if newline:
                yield _whole_lines(head + newline)
    if rest.strip():
        yield _whole_lines(rest)


def at(path: Path, rows: Sequence[int]) -> Iterator[bytes]:
    """Some of the lines, by their numbers from 0 on in ascending order."""
    wanted, start = np.asarray(rows, dtype=np.int64), 0
    for block, lengths in lines(path):
        if not len(wanted):
            return
        known = int(np.searchsorted(wanted, start + len(lengths)))
        yield from cut(block, lengths, wanted[:known] - start)
        wanted, start = wanted[known:], start + len(lengths)


def cut(block: NDArray[np.uint8], lengths: NDArray[np.int64], rows: Iterable[int]) -> list[bytes]:
    """Some lines of a block, by their numbers in it."""
    ends = lengths.cumsum()
    return [block[ends[row] - lengths[row] : ends[row]].tobytes() for row in rows]


def _whole_lines(block: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    values = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(values == ord("\n")) + 1
    if not len(ends) or ends[-1] < len(values):
        ends = np.append(ends, len(values))
    lengths = np.diff(ends, prepend=0)
    starts = ends - lengths
    # only lines that begin with white space can be blank, and they are few
    odd = np.flatnonzero(values[starts] <= ord(" "))
    blank = [line for line in odd if not block[starts[line] : ends[line]].strip()]
    if not blank:
        return values, lengths
    full = np.ones(len(lengths), dtype=np.bool_)
    full[blank] = False
    return values[np.repeat(full, lengths)], lengths[full]
