"""filter/export: the kept and the dropped rows in their original shape, in blocks, however many there are.

kept.jsonl and dropped.jsonl have the order and the fields of the input. Where there are several sources, each has a
folder. Rows of a .jsonl file keep their bytes. Rows that the mix stage left out, because a trusted set has them too,
are in left_out.jsonl, and kept rows that were not scored to their end in too_long.jsonl; both are missing where there
are no such rows.
"""

import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from forgetfilter.data.line_blocks import lines
from forgetfilter.data.original_rows import Original
from forgetfilter.files import atomic_path, sha256_value

FILES = ("kept.jsonl", "dropped.jsonl", "left_out.jsonl", "too_long.jsonl")
KEPT, DROPPED, LEFT_OUT, TOO_LONG = range(4)
LONGEST = 200  # characters of a folder name; file systems take 255
Counts = dict[str, dict[str, int]]


def write_export(originals: list[Original], drop: NDArray[np.bool_], apart: NDArray[np.bool_], folder: Path) -> Counts:
    """Writes the files of each source, and deletes those of an earlier decision; {SOURCE: {"kept", "dropped"}}, with
    "left_out" and "too_long" where there are such rows.

    drop, apart: [n] of all records, those of the originals first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    counts, start = Counts(), 0
    for original in originals:
        fate = np.full(original.rows, LEFT_OUT, dtype=np.int8)
        taken = np.setdiff1d(np.arange(original.rows), original.left_out)
        rows = slice(start, start + len(taken))
        fate[taken] = np.where(apart[rows], TOO_LONG, drop[rows])
        start += len(taken)
        own = folder / _folder_name(original.source) if len(originals) > 1 else folder
        _write(Path(original.path), fate, own)
        numbers = np.bincount(fate, minlength=len(FILES)).tolist()
        counts[original.source] = {"kept": numbers[KEPT], "dropped": numbers[DROPPED]}
        further = {"left_out": numbers[LEFT_OUT], "too_long": numbers[TOO_LONG]}
        counts[original.source] |= {name: number for name, number in further.items() if number}
    return counts


def _folder_name(source: str) -> str:
    name = re.sub(r"^\.", "%2E", quote(source, safe=" "))
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{sha256_value(source)[:8]}"


def _write(data: Path, fate: NDArray[np.int8], folder: Path) -> None:
    """Writes the first lines of the data into the files that `fate` names, one entry for each line."""
    start = 0
    with ExitStack() as stack:
        parts = {
            number: _file(stack, folder / name)
            for number, name in enumerate(FILES)
            if number in (KEPT, DROPPED) or (fate == number).any()
        }
        for block, lengths in lines(data):
            rows = fate[start : start + len(lengths)]
            start += len(rows)
            of_byte = np.repeat(rows, lengths[: len(rows)])
            for number, file in parts.items():
                text = block[: len(of_byte)][of_byte == number].tobytes()
                file.write(text if not text or text.endswith(b"\n") else text + b"\n")
            if start == len(fate):
                break
    assert start == len(fate), f"{data} has {start} lines, not {len(fate)}"


def _file(stack: ExitStack, path: Path) -> BinaryIO:
    return stack.enter_context(open(stack.enter_context(atomic_path(path)), "wb"))
