"""Writes kept.jsonl, dropped.jsonl and, where there is a need, too_long.jsonl from the lines of the data, in one pass
over blocks of any number of lines."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from forgetfilter.data.line_blocks import lines
from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path

from .decisions import Decisions

TOO_LONG = "too_long.jsonl"
ADDED = ("score", "rank", "p_value", "reason")  # to dropped lines
BUCKET = 100_000  # dropped lines put into their order in memory at a time
MOST_BUCKETS = 500  # files open at a time


def write_split(data: Path, folder: Path, decisions: Decisions) -> None:
    """Writes the kept lines unchanged and in their order, those that are kept apart likewise, and the dropped ones by
    rank, with those of ADDED that exist."""
    drop, apart = decisions.drop, decisions.apart
    (folder / TOO_LONG).unlink(missing_ok=True)
    with ExitStack() as stack:
        dropped_temporary = stack.enter_context(atomic_path(folder / "dropped.jsonl"))
        names = ["kept.jsonl", *([TOO_LONG] if apart.any() else [])]
        outs = [stack.enter_context(open(stack.enter_context(atomic_path(folder / name)), "wb")) for name in names]
        buckets = _Buckets(stack, folder, int(drop.sum()), len(drop))
        start = 0
        for block, lengths in lines(data):
            rows = drop[start : start + len(lengths)]
            if len(rows) < len(lengths):
                break
            given = _lines(block, lengths)
            aside = apart[start : start + len(lengths)]
            for out, chosen in zip(outs, (~rows & ~aside, aside)):
                out.write(_bytes(given.filter(pa.array(chosen))))
            if rows.any():
                buckets.add(given.filter(pa.array(rows)), decisions.piece(start, start + len(rows)).filter("drop"))
            start += len(lengths)
        if start != len(drop) or len(rows) < len(lengths):
            raise UserError(f"{data} changed while it was filtered: run the same command again")
        buckets.write(dropped_temporary)


def _lines(block: NDArray[np.uint8], lengths: NDArray[np.int64]) -> pa.LargeBinaryArray:
    """The lines of a block, with their ends; nothing is copied."""
    offsets = np.concatenate([[0], lengths.cumsum()])
    return pa.Array.from_buffers(pa.large_binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(block)])


def _bytes(lines: pa.LargeBinaryArray) -> memoryview:
    """All lines one after another."""
    _, offsets, values = lines.buffers()
    return memoryview(values)[: np.frombuffer(offsets, np.int64)[len(lines)]] if len(lines) else memoryview(b"")


class _Buckets:
    """Orders dropped lines by rank: they are spread over files by rank, and then each file is ordered."""

    def __init__(self, stack: ExitStack, folder: Path, dropped: int, count: int):
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".dropped-")))
        number = min(MOST_BUCKETS, -(-dropped // BUCKET))
        self.width = -(-count // number) if number else count
        self.paths = [scratch / str(bucket) for bucket in range(number)]
        self.files = [stack.enter_context(open(path, "wb")) for path in self.paths]
        self.ranks: list[list[NDArray[np.int64]]] = [[] for _ in self.paths]

    def add(self, own: pa.LargeBinaryArray, why: pl.DataFrame) -> None:
        """Lines of JSON objects, and what is added to each."""
        line = pl.Series("line", own.cast(pa.large_string()))
        added = pl.struct(name for name in ADDED if name in why.columns).struct.json_encode().str.strip_prefix("{")
        whole = pl.concat_str(pl.col("line").str.strip_chars_end().str.strip_suffix("}"), pl.lit(","), added)
        frame = why.with_columns(line).select(line=whole, place=pl.col("rank").fill_null(1 << 62))
        bucket = (pl.col("place") // self.width).clip(0, len(self.paths) - 1)
        for (number,), part in frame.with_columns(bucket=bucket).group_by("bucket"):
            assert isinstance(number, int)
            self.files[number].write(("\n".join(part["line"]) + "\n").encode("utf-8"))
            self.ranks[number].append(part["place"].to_numpy())

    def write(self, path: Path) -> None:
        """All lines, most forgotten first."""
        with open(path, "wb") as out:
            for file, bucket, ranks in zip(self.files, self.paths, self.ranks):
                file.close()
                if ranks:
                    own = bucket.read_bytes().split(b"\n")
                    order = np.argsort(np.concatenate(ranks), kind="stable")
                    out.write(b"\n".join([own[line] for line in order]) + b"\n")
                bucket.unlink()
