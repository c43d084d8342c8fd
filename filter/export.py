"""filter/export: the kept and the dropped rows as they came, in blocks, however many there are.

kept.jsonl and dropped.jsonl in the order and with the fields of the input, in a folder a source where there are
several. Rows of a .jsonl file keep their very bytes.
"""

import re
import shutil
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from forgetfilter.data.original_rows import Original
from forgetfilter.files import atomic_path, sha256_value

from .table.blocks import lines

LONGEST = 200  # characters of a folder name; file systems take 255
Counts = dict[str, dict[str, int]]


def write_export(originals: list[Original], drop: NDArray[np.bool_], folder: Path) -> Counts:
    """Writes the files of each source, and deletes those of an earlier decision; {SOURCE: {"kept", "dropped"}}.

    drop: [n] of all records, those of the originals first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    counts, start = Counts(), 0
    for original in originals:
        rows = drop[start : start + original.rows]
        start += original.rows
        own = folder / _folder_name(original.source) if len(originals) > 1 else folder
        _write(Path(original.path), rows, own / "kept.jsonl", own / "dropped.jsonl")
        dropped = int(rows.sum())
        counts[original.source] = {"kept": len(rows) - dropped, "dropped": dropped}
    return counts


def _folder_name(source: str) -> str:
    name = re.sub(r"^\.", "%2E", quote(source, safe=" "))
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{sha256_value(source)[:8]}"


def _write(data: Path, drop: NDArray[np.bool_], kept: Path, dropped: Path) -> None:
    """Parts the first lines of the data, one for each of `drop`."""
    start = 0
    with atomic_path(kept) as first, atomic_path(dropped) as second, open(first, "wb") as k, open(second, "wb") as d:
        for block, lengths in lines(data):
            rows = drop[start : start + len(lengths)]
            start += len(rows)
            of_byte = np.repeat(rows, lengths[: len(rows)])
            for file, chosen in ((k, ~of_byte), (d, of_byte)):
                text = block[: len(of_byte)][chosen].tobytes()
                file.write(text if not text or text.endswith(b"\n") else text + b"\n")
            if start == len(drop):
                break
    assert start == len(drop), f"{data} has {start} lines, not {len(drop)}"
