"""Columns of numbers in files, one value for each row, which are joined once and then read in bounded pieces."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .threads import ahead

PIECE = 500_000  # rows in memory at a time


class Columns:
    """Columns of `count` rows in a folder that its owner deletes."""

    def __init__(self, folder: Path, count: int):
        self.folder, self.count = folder, count
        self.types: dict[str, np.dtype[Any]] = {}

    def write(self, name: str, values: NDArray[Any]) -> None:
        assert len(values) == self.count
        self._write(name, [values], values.dtype)

    def adopt(self, name: str, path: Path, kind: Any, order: NDArray[Any] | None) -> None:
        """Turns a file of values into a column, in the given order if there is one, and removes the file."""
        if order is None:
            assert path.stat().st_size == self.count * np.dtype(kind).itemsize
            path.replace(self.folder / name)
            self.types[name] = np.dtype(kind)
            return
        assert len(order) == self.count
        values = np.fromfile(path, kind)
        pieces = ahead(lambda start: values.take(order[start : start + PIECE]), range(0, self.count, PIECE))
        self._write(name, pieces, values.dtype)
        path.unlink()

    def _write(self, name: str, pieces: Iterable[NDArray[Any]], kind: np.dtype[Any]) -> None:
        with open(self.folder / name, "wb") as file:  # ndarray.tofile does not report a disk that fills up at the end
            for piece in pieces:
                file.write(np.ascontiguousarray(piece).data)
        self.types[name] = kind

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """The values of the rows from `start` up to `stop`."""
        kind = self.types[name]
        length = (self.count if stop is None else min(stop, self.count)) - start
        return np.fromfile(self.folder / name, kind, length, offset=start * kind.itemsize)

    def frame(self, names: Sequence[str], start: int, stop: int) -> pl.DataFrame:
        """Columns of the rows from `start` up to `stop`."""
        return pl.DataFrame({name: self.read(name, start, stop) for name in names})

    def each(self, expression: pl.Expr, names: Sequence[str]) -> Iterator[tuple[int, pl.Series]]:
        """(first row, an expression of these columns) of every PIECE rows, in order."""

        def one(start: int) -> tuple[int, pl.Series]:
            return start, self.frame(names, start, start + PIECE).select(expression).to_series()

        return ahead(one, range(0, self.count, PIECE))

    def compute(self, expression: pl.Expr, names: Sequence[str], kind: Any) -> NDArray[Any]:
        """[n] the values of an expression of these columns."""
        values = np.empty(self.count, kind)
        for start, piece in self.each(expression, names):
            values[start : start + len(piece)] = piece.to_numpy()
        return values

    def where(self, condition: pl.Expr, names: Sequence[str]) -> NDArray[np.int64]:
        """The rows for which a condition on these columns is true or null."""
        found = [start + rows for start, rows in self.each(pl.arg_where(condition.fill_null(True)), names)]
        return pl.concat(found).to_numpy().astype(np.int64) if found else np.empty(0, np.int64)

    def take(self, name: str, rows: NDArray[Any]) -> NDArray[Any]:
        """The values of some rows, in their order."""
        if not self.count:
            return np.empty(0, self.types[name])
        return np.array(np.memmap(self.folder / name, self.types[name], "r")[rows])

    def rename(self, old: str, new: str) -> None:
        (self.folder / old).rename(self.folder / new)
        self.types[new] = self.types.pop(old)

    def drop(self, name: str) -> None:
        (self.folder / name).unlink()
        del self.types[name]
