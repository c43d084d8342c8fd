"""Brings the numbers of shards into the order of the data, and proves that every id is there exactly once.

Polars' streaming engine and DuckDB join the same shards with the same result in one query, but do not take its place.
At 10^7 rows (python bench/engines.py --rows 10000000 --folder FOLDER, on a busy machine) they took 5.4 and 5.1 times as
long by id, Polars in 4.7 GB where 4 GB are to do for 10^8 rows, and by the ids' hashes 2.6 and 4.0 times (1.3 times was
the least, once): they carry ids or whole rows through the join, and this code sorts hashes alone. At 10^8 rows, where
it takes 2.9 GB, they were not run (docs/findings/2026-11-28.md).
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forgetfilter.errors import UserError, reason
from forgetfilter.storage.shards import count_rows, scan

from .columns import PIECE, Columns
from .match import Match, match
from .threads import ahead

AGAIN = "delete this folder and score again"  # a finished folder is never scored again while it is there
KEY = "key"  # hashes of the data's ids


def key(seed: int) -> pl.Expr:
    """The hash of an id. Without the cast, the codes of a dictionary of ids would be hashed as numbers."""
    return pl.col("id").cast(pl.String).hash(seed)


Kinds = dict[str, tuple[str, Any]]  # {name in the shards: (name in the table, type)}


class SameHashError(Exception):
    """Two different ids have one hash."""


class Joiner:
    """Adds columns to those that hold KEY, the hashes by `seed` of the ids in `index`."""

    def __init__(self, columns: Columns, index: Path, data: Path, seed: int):
        self.columns, self.data, self.seed = columns, data, seed
        self.ids = scan(index)
        self.order: NDArray[np.uint32] | None = None
        self.last = columns.folder / "last"  # the hashes, in a file, of the ids for which `order` was found

    def add(self, folder: Path, kinds: Kinds, rows: pl.Expr | None = None) -> None:
        """Columns of a folder. UserError where its ids are not exactly the data's.

        `rows` selects rows where the folder has more than one for each example.
        """
        counts = count_rows(folder)
        shards = scan(list(counts))
        wanted = {KEY: key(self.seed)} | {name: _number(name, kind) for name, (_, kind) in kinds.items()}
        files = {name: self.columns.folder / f"unordered-{name}" for name in wanted}
        try:
            _spool(_pieces(counts), rows, wanted, files)
            # Texts' columns come in the data's order. The first folder has proven that the data's own ids differ, so
            # a folder with the same ids in the same order needs no sort and no further proof.
            as_data = self.order is not None and _equal(files[KEY], self.columns.folder / KEY)
            if self.order is None or not (as_data or _equal(files[KEY], self.last)):
                matched = match(self.columns.read(KEY), np.fromfile(files[KEY], np.uint64))
                self._prove(matched, folder, shards if rows is None else shards.filter(rows))
                self.order = matched.order
                files[KEY].replace(self.last)
        except pl.exceptions.PolarsError as error:
            raise UserError(f"{folder} cannot be read ({reason(error)}); {AGAIN}") from error
        for name, (new, kind) in kinds.items():
            self.columns.adopt(new, files[name], kind, None if as_data else self.order)

    def _prove(self, matched: Match, folder: Path, shards: pl.LazyFrame) -> None:
        if len(matched.ambiguous):
            ids = pick(self.ids, matched.ambiguous)
            refuse(ids.filter(ids.is_duplicated()), f"{self.data}: {{}} more than once; run the mix stage again")
            raise SameHashError
        missing = f"{folder}: no row for {{}} of {self.columns.count} examples; {AGAIN}"
        refuse(pick(self.ids, matched.missing), missing)
        refuse(pick(shards, matched.foreign), f"{folder}: rows for {{}} that the data does not have; {AGAIN}")
        refuse(pick(shards, matched.repeated), f"{folder}: {{}} scored more than once; {AGAIN}")


def pick(frame: pl.LazyFrame, rows: NDArray[Any], expression: pl.Expr = pl.col("id")) -> pl.Series:  # noqa: B008
    """An expression of some rows, in the order of the frame."""
    return pl.concat(
        [pl.Series("id", [], dtype=pl.String)] if not len(rows) else picked(frame, np.sort(rows), expression)
    )


def picked(frame: pl.LazyFrame, ordered: NDArray[Any], expression: pl.Expr) -> Iterator[pl.Series]:
    """An expression of some rows in ascending order, a piece at a time."""
    starts = np.arange(0, int(ordered[-1]) + 1, PIECE).astype(ordered.dtype)  # of one type: nothing is converted
    places = [*np.searchsorted(ordered, starts).tolist(), len(ordered)]

    def one(piece: tuple[np.integer[Any], int, int]) -> pl.Series:
        start, begin, end = piece
        own = pl.Series(ordered[begin:end] - start)
        found = frame.slice(int(start), PIECE).select(expression.gather(own)).collect().to_series()
        # copied as Arrow's plain strings, since those of Polars would keep the texts of the whole piece in memory
        return pl.Series(found.to_arrow(compat_level=pl.CompatLevel.oldest()))

    pieces = zip(starts, places[:-1], places[1:])
    return ahead(one, (piece for piece in pieces if piece[1] < piece[2]))


def refuse(ids: pl.Series, message: str) -> None:
    """Raises UserError with the number of wrong ids, and the first of them at `{}`, if there are any."""
    if len(ids):
        ids = ids.unique().sort()
        shown = ", ".join(str(value)[:12] for value in ids.head(3))
        counted = "1 id" if len(ids) == 1 else f"{len(ids)} ids"
        raise UserError(message.replace("{}", f"{counted} ({shown}{', ...' if len(ids) > 3 else ''})"))


def _pieces(counts: dict[Path, int]) -> Iterator[tuple[list[Path], int]]:
    """(shards, first row) of at most PIECE rows at a time, so that no shard is opened for the rows of another one."""
    together, held = list[Path](), 0
    for path, count in counts.items():
        if together and held + count > PIECE:
            yield together, 0
            together, held = [], 0
        if count > PIECE:
            yield from (([path], start) for start in range(0, count, PIECE))
        else:
            together.append(path)
            held += count
    if together:
        yield together, 0


def _spool(
    pieces: Iterable[tuple[list[Path], int]], rows: pl.Expr | None, wanted: dict[str, pl.Expr], files: dict[str, Path]
) -> None:
    """Writes the columns into files, in the order of the shards."""

    def one(piece: tuple[list[Path], int]) -> pl.DataFrame:
        paths, start = piece
        own = scan(paths).slice(start, PIECE)
        return (own if rows is None else own.filter(rows)).select(**wanted).collect()

    with ExitStack() as stack:
        out = {name: stack.enter_context(open(path, "wb")) for name, path in files.items()}
        for piece in ahead(one, pieces):
            for name, file in out.items():
                file.write(np.ascontiguousarray(piece[name].to_numpy()).data)


def _equal(one: Path, other: Path) -> bool:
    with open(one, "rb") as first, open(other, "rb") as second:
        while piece := first.read(PIECE):
            if piece != second.read(PIECE):
                return False
        return not second.read(1)


def _number(name: str, kind: Any) -> pl.Expr:
    """A column as numbers; a null becomes a value that every check refuses."""
    whole = np.issubdtype(kind, np.integer)
    return pl.col(name).cast(pl.Int32 if whole else pl.Float64).fill_null(-1 if whole else float("nan"))
