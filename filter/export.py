"""filter/export: the kept and the dropped rows in their original shape, in blocks, however many there are.

kept.jsonl and dropped.jsonl have the order and the fields of the input. Where there are several sources, each has a
folder. Rows of a .jsonl file keep their bytes. Rows that the mix stage left out, because a trusted set has them too,
are in left_out.jsonl, which is missing where there are none.
"""

import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from forgetfilter.data.original_rows import Original
from forgetfilter.files import atomic_path, sha256_value

from .table.blocks import lines

FILES = ("kept.jsonl", "dropped.jsonl", "left_out.jsonl")
KEPT, DROPPED, LEFT_OUT = range(3)
LONGEST = 200  # characters of a folder name; file systems take 255
Counts = dict[str, dict[str, int]]


def write_export(originals: list[Original], drop: NDArray[np.bool_], folder: Path) -> Counts:
    """Writes the files of each source, and deletes those of an earlier decision; {SOURCE: {"kept", "dropped"}}.

    drop: [n] of all records, those of the originals first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    counts, start = Counts(), 0
    for original in originals:
        fate = np.full(original.rows, LEFT_OUT, dtype=np.int8)
        taken = np.setdiff1d(np.arange(original.rows), original.left_out)
        fate[taken] = drop[start : start + len(taken)]
        start += len(taken)
        own = folder / _folder_name(original.source) if len(originals) > 1 else folder
        _write(Path(original.path), fate, own)
        numbers = np.bincount(fate, minlength=len(FILES)).tolist()
        counts[original.source] = {"kept": numbers[KEPT], "dropped": numbers[DROPPED]}
        if original.left_out:
            counts[original.source]["left_out"] = numbers[LEFT_OUT]
    return counts


def _folder_name(source: str) -> str:
    name = re.sub(r"^\.", "%2E", quote(source, safe=" "))
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{sha256_value(source)[:8]}"


def _write(data: Path, fate: NDArray[np.int8], folder: Path) -> None:
    """Writes the first lines of the data into the files that `fate` names, one entry for each line."""
    start = 0
    with ExitStack() as stack:
        parts = [
            _file(stack, folder / name) for number, name in enumerate(FILES) if number < 2 or (fate == number).any()
        ]
        for block, lengths in lines(data):
            rows = fate[start : start + len(lengths)]
            start += len(rows)
            of_byte = np.repeat(rows, lengths[: len(rows)])
            for number, file in enumerate(parts):
                text = block[: len(of_byte)][of_byte == number].tobytes()
                file.write(text if not text or text.endswith(b"\n") else text + b"\n")
            if start == len(fate):
                break
    assert start == len(fate), f"{data} has {start} lines, not {len(fate)}"


def _file(stack: ExitStack, path: Path) -> BinaryIO:
    return stack.enter_context(open(stack.enter_context(atomic_path(path)), "wb"))
