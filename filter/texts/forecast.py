"""What a row's text lets one expect of a number: ridge regressions on hashed words, each row by one that never saw it.

Rows are dealt to FOLDS folds by their rarest words, so that rows that are nearly alike are in one fold (the smallest
hash of the words that few rows have; two rows share it as often as they share such words: minwise hashing, Broder
1997). A row's forecast is that of the model of its fold, which was fitted to the rows of the others. So the forecast of
a trusted row is as that of any good row, and what was calibrated on trusted rows holds.

TF-IDF as usual: (1 + ln count) * (1 + ln((1 + n) / (1 + rows with the word))), rows of length 1. The model minimises
|Xw - y|^2 + PENALTY |w|^2 over the centred numbers y, by LSQR (Paige and Saunders, 1982).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from scipy.sparse.linalg import lsqr

from forgetfilter.data.records import Record
from forgetfilter.files import atomic_path

from .words import BUCKETS, counts, in_pieces

FOLDS, PENALTY, STEPS = 10, 3.0, 30
FEWEST = 100  # rows to fit to: of fewer nothing general can be learned
RARE = 0.01  # share of the rows that a word may be in, for the folds
PIECE = 2_000  # records whose words are counted together

Numbers = NDArray[np.float32]


class Forecast:
    """Deterministic; records pass through it in pieces of any size."""

    def __init__(self, idf: Numbers, rare: NDArray[np.bool_], weights: Numbers, mean: float):
        self.idf = idf
        """[BUCKETS] inverse document frequencies."""
        self.rare = rare
        """[BUCKETS] whether few rows have a bucket's words."""
        self.weights = weights
        """[FOLDS, BUCKETS]: of the model that did not see a fold."""
        self.mean = mean
        """Of the numbers that it was fitted to."""

    @classmethod
    def fit(cls, records: Iterator[Record], numbers: NDArray[np.float64]) -> Self:
        """To one number a record."""
        given = vstack(list(in_pieces(records, PIECE)), format="csr")
        rows = np.bincount(given.indices, minlength=BUCKETS)
        idf = (1 + np.log((1 + len(numbers)) / (1 + rows))).astype(np.float32)
        mean = float(numbers.mean())
        found = cls(idf, rows <= max(2, RARE * len(numbers)), np.zeros((FOLDS, BUCKETS), np.float32), mean)
        fold, known = found.folds(given), np.flatnonzero(rows)
        weighted = found._weighted(given)[:, known]
        for number in range(FOLDS):
            seen = np.flatnonzero(fold != number)
            if len(seen):
                solved = lsqr(weighted[seen], numbers[seen] - mean, damp=PENALTY**0.5, iter_lim=STEPS)
                found.weights[number, known] = solved[0]
        return found

    def folds(self, given: csr_array) -> NDArray[np.int64]:
        """[n] the fold of each row of `counts`, 0 to FOLDS - 1."""
        drawn = (given.indices.astype(np.uint64) + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
        drawn ^= drawn >> np.uint64(32)
        drawn = drawn * np.uint64(0xD6E8FEB86659FD93) >> np.uint64(2)
        drawn[~self.rare[given.indices]] += np.uint64(
            1 << 62
        )  # those that many rows have: only where there are no others
        smallest = np.zeros(given.shape[0], dtype=np.uint64)
        filled = np.diff(given.indptr) > 0
        if filled.any():
            smallest[filled] = np.minimum.reduceat(drawn, given.indptr[:-1][filled])
        fold: NDArray[np.int64] = (smallest % np.uint64(FOLDS)).astype(np.int64)
        return fold

    def of(self, records: list[Record]) -> Numbers:
        """[n] the forecasts."""
        found = []
        for start in range(0, len(records), PIECE):
            given = counts(records[start : start + PIECE])
            weighted = self._weighted(given)
            row = np.repeat(np.arange(given.shape[0]), np.diff(given.indptr))
            weight = self.weights[self.folds(given)[row], weighted.indices]
            found.append(np.bincount(row, weighted.data * weight, minlength=given.shape[0]) + self.mean)
        return np.concatenate(found).astype(np.float32) if found else np.empty(0, np.float32)

    def _weighted(self, given: csr_array) -> csr_array:
        data = (1 + np.log(given.data)) * self.idf[given.indices]
        row = np.repeat(np.arange(given.shape[0]), np.diff(given.indptr))
        length = np.sqrt(np.bincount(row, data**2, minlength=given.shape[0]))
        data /= length[row].astype(np.float32)
        return csr_array((data, given.indices, given.indptr), shape=given.shape)

    def save(self, path: Path) -> None:
        known = np.flatnonzero(self.weights.any(axis=0))
        with atomic_path(path) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, idf=self.idf, rare=self.rare, known=known, weights=self.weights[:, known], mean=self.mean)

    @classmethod
    def load(cls, path: Path) -> Self:
        with np.load(path) as found:
            weights = np.zeros((FOLDS, BUCKETS), np.float32)
            weights[:, found["known"]] = found["weights"]
            return cls(found["idf"], found["rare"], weights, float(found["mean"]))
