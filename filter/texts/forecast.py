"""Forecasts of a row's forgetting from its words, by a model that has not seen the row.

Rows are put into folds by their rare words, so that rows that are nearly the same are in one fold. The fold comes from
the smallest hash of the words that few rows have, which two rows share as often as they share such words (minwise
hashing, Broder 1997).

TF-IDF as usual: (1 + ln count) * (1 + ln((1 + n) / (1 + rows with the word))), rows of length 1, n with the safe set's
rows. filter/texts/crossfit.py has the regressions.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack, vstack

from forgetfilter.data.records import Record
from forgetfilter.files import atomic_path

from .crossfit import FOLDS, TRUSTED, crossfit, foretold
from .words import BUCKETS, counts, in_pieces

FEWEST = 100  # the fewest rows to fit to; fewer teach nothing general
RARE = 0.01  # share of the rows that a word may be in, for the folds
PIECE = 2_000  # records whose words are counted together

Numbers = NDArray[np.float32]


class Forecast:
    """A deterministic map of records to forecasts; records can be given in pieces of any size."""

    VERSION = 2  # of what is foretold: forecasts of another one are made again

    def __init__(self, idf: Numbers, rare: NDArray[np.bool_], weights: Numbers, base: Numbers):
        self.idf = idf
        """[BUCKETS] inverse document frequencies."""
        self.rare = rare
        """[BUCKETS] whether few rows have a bucket's words."""
        self.weights = weights
        """[FOLDS, BUCKETS]: of the model that did not see a fold."""
        self.base = base
        """[FOLDS] what is foretold of a text without words."""

    @classmethod
    def fit(
        cls,
        records: Iterator[Record],
        ranks: NDArray[np.float64],
        safe: Iterator[Record] = iter(()),  # noqa: B008
    ) -> Self:
        """To one rank a record, 0 to 1, and records of the safe set."""
        given = vstack([_empty(), *in_pieces(records, PIECE)], format="csr")
        trusted = vstack([_empty(), *in_pieces(safe, PIECE)], format="csr")
        both, count = vstack([given, trusted], format="csr"), given.shape[0] + trusted.shape[0]
        rows = np.bincount(both.indices, minlength=BUCKETS)
        idf = (1 + np.log((1 + count) / (1 + rows))).astype(np.float32)
        found = cls(idf, rows <= max(2, RARE * count), *_none())
        fold = np.concatenate([found.folds(given), np.full(trusted.shape[0], TRUSTED)])
        known = np.flatnonzero(rows)
        features = hstack([found._weighted(both)[:, known], np.ones((count, 1), np.float32)], format="csr")
        solved = crossfit(features, fold, np.append(ranks, np.zeros(trusted.shape[0])))
        found.weights[:, known], found.base = solved[:, :-1], solved[:, -1]
        return found

    def folds(self, given: csr_array) -> NDArray[np.int64]:
        """[n] the fold of each row of `counts`, 0 to FOLDS - 1."""
        drawn = (given.indices.astype(np.uint64) + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
        drawn ^= drawn >> np.uint64(32)
        drawn = drawn * np.uint64(0xD6E8FEB86659FD93) >> np.uint64(2)
        drawn[~self.rare[given.indices]] += np.uint64(
            1 << 62
        )  # words that many rows have count only where there are no others
        smallest = np.zeros(given.shape[0], dtype=np.uint64)
        filled = np.diff(given.indptr) > 0
        if filled.any():
            smallest[filled] = np.minimum.reduceat(drawn, given.indptr[:-1][filled])
        fold: NDArray[np.int64] = (smallest % np.uint64(FOLDS)).astype(np.int64)
        return fold

    def of(self, records: list[Record]) -> Numbers:
        """[n] the forecasts."""
        found = [np.empty(0, np.float32)]
        for start in range(0, len(records), PIECE):
            given = counts(records[start : start + PIECE])
            fold = self.folds(given)
            found.append((foretold(self._weighted(given), fold, self.weights) + self.base[fold]).astype(np.float32))
        return np.concatenate(found)

    def _weighted(self, given: csr_array) -> csr_array:
        data = (1 + np.log(given.data)) * self.idf[given.indices]
        row = np.repeat(np.arange(given.shape[0]), np.diff(given.indptr))
        length = np.sqrt(np.bincount(row, data**2, minlength=given.shape[0]))
        data /= length[row].astype(np.float32)
        return csr_array((data, given.indices, given.indptr), shape=given.shape)

    def save(self, path: Path) -> None:
        known = np.flatnonzero(self.weights.any(axis=0))
        weights = self.weights[:, known]
        with atomic_path(path) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, idf=self.idf, rare=self.rare, known=known, weights=weights, base=self.base)

    @classmethod
    def load(cls, path: Path) -> Self:
        with np.load(path) as found:
            weights, _ = _none()
            weights[:, found["known"]] = found["weights"]
            return cls(found["idf"], found["rare"], weights, found["base"])


def _none() -> tuple[Numbers, Numbers]:
    return np.zeros((FOLDS, BUCKETS), np.float32), np.zeros(FOLDS, np.float32)


def _empty() -> csr_array:
    return csr_array((0, BUCKETS), dtype=np.float32)
