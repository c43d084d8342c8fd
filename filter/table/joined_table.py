"""The joined table: the tokens of each noisy example and its losses before and after. Every id is proven to occur once.

It has columns of numbers, one row for each example, in the data's order: `num_tokens` (label tokens), `before_loss_sum,
after_loss_sum` (nats), and `before_rouge1, after_rouge1` where both were generated. Ids and texts are never in memory
together: ids are compared by 64-bit hashes (two of 10^8 different ids are equal in one with a chance of 0.0003; then
another hash is taken), and the numbers lie in files, so that 100 million rows need some 3 GB.
"""

import contextlib
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from forgetfilter.data.line_blocks import lines
from forgetfilter.errors import UserError
from forgetfilter.storage.shards import STATES, check_comparable, scan

from .columns import PIECE, Columns
from .join import AGAIN, KEY, Joiner, SameHashError, key, pick, picked, refuse
from .record_fields import read_lines
from .sorting import in_order, repeated, taken
from .stored_columns import add_extras
from .threads import ahead

SAMPLE = 1_000_000  # the most rows to which a signal is fitted and by which it is measured
_NEGATIVE_NATS = -1e-3  # rounding may move a mean loss this far below 0, and no further
_INDEX = {"id": pl.String, "source": pl.String, "label": pl.String}
_CODES = ("source", "label")
# The first eight bytes of an id as a number of the same order.
_PREFIX = pl.col("id").str.pad_end(8, "\0").cast(pl.Binary).bin.slice(0, 8)
_PREFIX = _PREFIX.bin.reinterpret(dtype=pl.UInt64, endianness="big")


@dataclass(frozen=True, eq=False)
class Table:
    """The examples of the data, in its order."""

    index: Path
    """Parquet with `id, source, label`."""
    columns: Columns
    """The numbers."""
    sources: list[str]
    """Names of the sources, sorted; the column `source` holds positions in it."""
    labels: list[str]
    """Names of the labels, sorted; the column `label` holds positions in it, -1 for none."""

    seed: int = 0
    """The seed of the hashes of the ids in the column KEY."""
    left_out: tuple[str, ...] = ()
    """Why stored columns that only labels would ask for are missing here."""
    note: str = ""
    """Notes for people on the columns that the signal reads."""

    @property
    def count(self) -> int:
        return self.columns.count

    @property
    def numbers(self) -> list[str]:
        """The columns that signals can read."""
        return [name for name in self.columns.types if name not in _CODES]

    def known(self, start: int, stop: int) -> pl.DataFrame:
        """`id, source, label` of the examples from `start` up to `stop`."""
        ids = scan(self.index).slice(start, stop - start).select("id").collect()
        return ids.with_columns(self.named(name, self.columns.read(name, start, stop)) for name in _CODES)

    def named(self, name: str, codes: NDArray[np.integer[Any]]) -> pl.Series:
        """The texts that codes of the column `source` or `label` stand for."""
        texts = self.sources if name == "source" else self.labels
        return pl.Series(name, [*texts, None], dtype=pl.String).gather(np.where(codes < 0, len(texts), codes))

    def ids(self, rows: NDArray[Any]) -> pl.Series:
        """The ids of some rows, in the order of the data."""
        return pick(scan(self.index), rows)

    def find(self, ids: pl.Series) -> NDArray[np.int64]:
        """The rows, ascending, of those of the given ids that the data has."""
        hashes = ids.hash(self.seed).implode()
        rows = self.columns.where(pl.col(KEY).is_in(hashes), [KEY])
        matching: NDArray[np.int64] = rows[self.ids(rows).is_in(ids.implode()).to_numpy()]
        return matching

    def id_order(self, rows: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Some rows in the order of their ids: by the first bytes, and by whole ids only where those are equal.

        The given rows are sorted in place: they may be all there are, and such an array is a tenth of all memory.
        """
        rows.sort()
        prefix, start = np.empty(len(rows), dtype=np.uint64), 0
        for piece in picked(scan(self.index), rows, _PREFIX):
            prefix[start : start + len(piece)] = piece.to_numpy()
            start += len(piece)
        ordered, equal, start = np.empty(len(rows), dtype=np.uint32), np.zeros(len(rows), dtype=np.bool_), 0
        for ((part, keys),) in in_order([prefix]):
            ordered[start : start + len(part)] = taken(rows, part)
            equal[start : start + len(part)] = repeated(keys)
            start += len(part)
        del prefix
        if equal.any():
            members = np.sort(ordered[equal])
            ordered[equal] = members[self.ids(members).arg_sort().to_numpy()]
        return ordered

    def add(self, data: Path, folder: Path, name: str) -> None:
        """Adds a column of numbers from the shards of a folder. UserError where its ids are not the data's."""
        Joiner(self.columns, self.index, data, self.seed).add(folder, {name: (name, np.float64)})
        self.__dict__.pop("sample", None)  # the folder lacks the column

    def add_empty(self, name: str) -> None:
        """Adds a column without a value."""
        self.columns.write(name, np.full(self.count, np.nan))
        self.__dict__.pop("sample", None)

    @cached_property
    def sample(self) -> pl.DataFrame:
        """The numbers and the label of at most SAMPLE rows, which their ids choose at random, since ids are hashes."""
        if self.count <= SAMPLE:
            chosen = np.arange(self.count)
        else:
            keys = self.columns.read(KEY)
            chosen = np.flatnonzero(keys < np.partition(keys, SAMPLE)[SAMPLE])
        frame = pl.DataFrame({name: self.columns.take(name, chosen) for name in self.numbers})
        return frame.with_columns(self.named("label", self.columns.take("label", chosen)), row=pl.Series(chosen))


@contextlib.contextmanager
def joined(data: Path, signals: Path, needs: Collection[str] | None = None) -> Iterator[Table]:
    """The table of a run, from its data/noisy.jsonl (or Parquet with the same columns) and its signals folder.

    `needs` are the wanted columns beyond the two losses; None stands for all that exist. Labelled data has all that can
    be read, to tell how well each signal would have done.

    Raises UserError where the two scorings are not comparable, an id is missing, foreign or there twice, the
    token counts differ, or a loss is not a number.
    """
    check_comparable(signals / "before", signals / "after")
    if not data.exists():
        raise UserError(f"{data} is missing: run the mix stage first")
    with tempfile.TemporaryDirectory(dir=signals.parent, prefix=".filter-") as scratch:
        index = data if data.suffix == ".parquet" else make_index(data, Path(scratch) / "index.parquet")
        try:
            table = _join(data, index, signals, Path(scratch), needs)
        except SameHashError:
            table = _join(data, index, signals, Path(scratch), needs, seed=1)
        yield table


def make_index(data: Path, path: Path) -> Path:
    """`id, source, label` of the canonical records, in their order, as Parquet."""
    schema = pa.schema([(name, pa.string()) for name in _INDEX])
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, use_dictionary=["source"]) as writer:
        for block, _ in lines(data):
            piece = read_lines(data, block, _INDEX)
            writer.write_table(piece.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema))
    return path


def _join(data: Path, index: Path, signals: Path, scratch: Path, needs: Collection[str] | None, seed: int = 0) -> Table:
    table = _examples(data, index, scratch, seed)
    joiner = Joiner(table.columns, index, data, seed)
    for state in STATES:
        kinds = {"num_tokens": (f"{state}_tokens", np.int32), "loss_sum": (f"{state}_loss_sum", np.float64)}
        joiner.add(signals / state, kinds)
        _check_losses(table, state, signals / state)
    unequal = table.columns.where(pl.col("before_tokens") != pl.col("after_tokens"), ["before_tokens", "after_tokens"])
    message = f"{signals}: num_tokens differs between before and after for {{}}; delete both and score again"
    refuse(table.ids(unequal), message)
    table.columns.rename("before_tokens", "num_tokens")
    table.columns.drop("after_tokens")
    return replace(table, left_out=add_extras(joiner, signals, needs, everything=bool(table.labels)))


def _examples(data: Path, index: Path, scratch: Path, seed: int) -> Table:
    """The table without any numbers yet; its column of keys are the hashes of the ids by this seed."""
    ids = scan(index)
    count = int(ids.select(pl.len()).collect().item())
    if not count:
        raise UserError(f"{data} is empty: there is nothing to filter")
    keys = np.empty(count, dtype=np.uint64)
    names = {name: pl.Categorical(pl.Categories.random()) for name in _CODES}
    codes = {name: np.empty(count, dtype=np.int32) for name in names}
    seen: dict[str, dict[int, str]] = {name: {} for name in names}
    wanted = [pl.col("id").is_null(), key(seed).alias(KEY)]

    def one(start: int) -> pl.DataFrame:
        coded = [pl.col(name).cast(kind) for name, kind in names.items()]
        return ids.slice(start, PIECE).select(*wanted, *coded).collect()

    for start, piece in zip(range(0, count, PIECE), ahead(one, range(0, count, PIECE))):
        rows = slice(start, start + len(piece))
        for column, missing in (("id", piece["id"]), ("source", piece["source"].is_null())):
            if missing.any():
                row = start + missing.arg_true()[0] + 1
                raise UserError(f"{data} row {row}: has no {column}; run the mix stage again")
        keys[rows] = piece[KEY].to_numpy()
        for name in names:
            codes[name][rows] = piece[name].to_physical().cast(pl.Int32).fill_null(-1).to_numpy()
            distinct = piece[name].unique().drop_nulls()
            seen[name] |= dict(zip(distinct.to_physical(), distinct.cast(pl.String)))
    columns = Columns(scratch, count)
    columns.write(KEY, keys)
    for name, known in seen.items():
        kind = np.min_scalar_type(-len(known) - 1)  # holds -1, and their number too (Table.named)
        place = np.full(max(known, default=-1) + 2, -1, dtype=kind)  # its last is that of no name, -1
        place[sorted(known, key=known.__getitem__)] = np.arange(len(known))
        columns.write(name, place.take(codes[name]))
    return Table(index, columns, sorted(seen["source"].values()), sorted(seen["label"].values()), seed)


def _check_losses(table: Table, state: str, folder: Path) -> None:
    tokens, loss = pl.col(f"{state}_tokens"), pl.col(f"{state}_loss_sum")
    possible = loss.is_finite() & (loss >= _NEGATIVE_NATS * tokens.clip(1)) & (tokens >= 0)
    wrong = table.columns.where(~possible, [f"{state}_tokens", f"{state}_loss_sum"])
    refuse(
        table.ids(wrong),
        f"{folder}: the loss is NaN, infinite or negative for {{}}: "
        f"the training diverged (lower train.noisy.lr or train.safe.lr), or the scoring broke ({AGAIN})",
    )
