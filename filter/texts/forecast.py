"""Forecasts of a row's forgetting from its words and their pieces, by a model that has not seen the row.

Rows, and those of the safe set, are put into folds by their rare words, so that rows that are nearly the same are in
one fold. The fold comes from the smallest hash of the words that few rows have, which two rows share as often as they
share such words (minwise hashing, Broder 1997).

TF-IDF as usual: (1 + ln count) * (1 + ln((1 + n) / (1 + rows with the word))), rows of length 1, n with the safe set's
rows. Each word brings its pieces with it (filter/texts/words.py), in proportion to the word: their TF-IDF, with
words in the place of rows. filter/texts/crossfit.py has the regressions.
"""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_diag, csr_array, eye_array, hstack

from forgetfilter.data.records import Record
from forgetfilter.files import atomic_path

from .crossfit import FOLDS, crossfit, foretold
from .words import BUCKETS, Counts, Vocabulary, counts, counts_of_all, subwords

FEWEST = 100  # the fewest rows to fit to; fewer teach nothing general
RARE = 0.01  # share of the rows that a word may be in, for the folds
AT_A_TIME = 2_000  # records whose words are counted together
SUBWORDS = 1.4  # length of a word's pieces, 1 being that of the word: of two equal words two thirds of the product
MOST_WORDS = 200_000  # words whose pieces are fitted; texts without end of words would fill the memory

Numbers = NDArray[np.float32]


class Forecast:
    """A deterministic map of records to forecasts; records can be given in pieces of any size."""

    VERSION = 4  # of what is foretold: forecasts of another one are made again

    def __init__(self, idf: Numbers, rare: NDArray[np.bool_], subword_idf: Numbers, weights: Numbers):
        self.idf = idf
        """[BUCKETS] inverse document frequencies of words and pairs."""
        self.rare = rare
        """[BUCKETS] whether few rows have a bucket's words."""
        self.subword_idf = subword_idf
        """[BUCKETS] those of pieces, words being the documents."""
        self.weights = weights
        """[FOLDS, 3 BUCKETS + 1], of the model that did not see a fold: of words and pairs, of the pieces of all words
        and of the answer's; and what is foretold of a text without words."""

    @classmethod
    def fit(
        cls,
        records: Iterator[Record],
        ranks: NDArray[np.float64],
        safe: Iterator[Record] = iter(()),  # noqa: B008
    ) -> Self:
        """To one rank a record, 0 to 1, and records of the safe set."""
        vocabulary = Vocabulary()
        given = counts_of_all(chain(records, safe), vocabulary, AT_A_TIME)
        count, pieces = given.hashed.shape[0], subwords([*islice(vocabulary, MOST_WORDS)])
        rows = np.bincount(given.hashed.indices, minlength=BUCKETS)
        forecast = cls(_idf(given.hashed), rows <= max(2, RARE * count), _idf(pieces), _no_weights())
        words = forecast._weighted(given, vocabulary.buckets(pieces.shape[0]))
        features = hstack([*words, np.ones((count, 1), np.float32)], format="csr")
        of_words = forecast._weighted_pieces(pieces)
        basis = block_diag([eye_array(BUCKETS), of_words, of_words, [[1.0]]], format="csr")
        seen = _columns(features)
        known = _columns(basis[seen])
        fold = forecast.folds(given.hashed)
        forecast.weights[:, known] = crossfit(features[:, seen], basis[seen][:, known], fold, ranks)
        return forecast

    def folds(self, hashed: csr_array) -> NDArray[np.int64]:
        """[n] the fold of each row of counts, 0 to FOLDS - 1."""
        drawn = (hashed.indices.astype(np.uint64) + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
        drawn ^= drawn >> np.uint64(32)
        drawn = drawn * np.uint64(0xD6E8FEB86659FD93) >> np.uint64(2)
        drawn[~self.rare[hashed.indices]] += np.uint64(
            1 << 62
        )  # words that many rows have count only where there are no others
        smallest = np.zeros(hashed.shape[0], dtype=np.uint64)
        filled = np.diff(hashed.indptr) > 0
        if filled.any():
            smallest[filled] = np.minimum.reduceat(drawn, hashed.indptr[:-1][filled])
        fold: NDArray[np.int64] = (smallest % np.uint64(FOLDS)).astype(np.int64)
        return fold

    def of(self, records: list[Record]) -> Numbers:
        """[n] the forecasts."""
        starts = range(0, len(records), AT_A_TIME)
        parts = [self._of(records[start : start + AT_A_TIME]) for start in starts]
        return np.concatenate([np.empty(0, np.float32), *parts])

    def _of(self, records: list[Record]) -> Numbers:
        vocabulary = Vocabulary()
        given = counts(records, vocabulary)
        fold, pieces = self.folds(given.hashed), self._weighted_pieces(subwords([*vocabulary]))
        own, whole, answer, base = np.split(self.weights, (BUCKETS, 2 * BUCKETS, 3 * BUCKETS), axis=1)
        of_words = np.concatenate([pieces @ whole.T, pieces @ answer.T]).T
        hashed, words = self._weighted(given, vocabulary.buckets(len(vocabulary)))
        found = foretold(hashed, fold, own) + foretold(words, fold, of_words) + base[fold, 0]
        exact: Numbers = found.astype(np.float32)
        return exact

    def _weighted(self, given: Counts, buckets: NDArray[np.int64]) -> tuple[csr_array, csr_array]:
        """([n, BUCKETS] in rows of length 1; [n, 2 V] the first V words as in these, times SUBWORDS, and the answer's).

        `buckets`: [2 V], of these words.
        """
        hashed, first = _tf_idf(given.hashed, self.idf), len(buckets) // 2
        words = hstack([given.whole[:, :first], given.answer[:, :first]], format="csr")
        length = np.maximum(_lengths(hashed), np.float32(1e-12))
        return _divided(hashed, length), _divided(_tf_idf(words, self.idf[buckets]), length / SUBWORDS)

    def _weighted_pieces(self, pieces: csr_array) -> csr_array:
        weighted = _tf_idf(pieces, self.subword_idf)
        return _divided(weighted, _lengths(weighted))

    def save(self, path: Path) -> None:
        known = np.flatnonzero(self.weights.any(axis=0))
        weights, (idf, rare, subword_idf) = self.weights[:, known], (self.idf, self.rare, self.subword_idf)
        with atomic_path(path) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, idf=idf, rare=rare, subword_idf=subword_idf, known=known, weights=weights)

    @classmethod
    def load(cls, path: Path) -> Self:
        with np.load(path) as stored:
            weights = _no_weights()
            weights[:, stored["known"]] = stored["weights"]
            return cls(stored["idf"], stored["rare"], stored["subword_idf"], weights)


def _no_weights() -> Numbers:
    return np.zeros((FOLDS, 3 * BUCKETS + 1), np.float32)


def _idf(given: csr_array) -> Numbers:
    """[columns] inverse document frequencies, each row being a document."""
    with_it = np.bincount(given.indices, minlength=given.shape[1])
    idf: Numbers = (1 + np.log((1 + given.shape[0]) / (1 + with_it))).astype(np.float32)
    return idf


def _tf_idf(given: csr_array, idf: Numbers) -> csr_array:
    return csr_array(((1 + np.log(given.data)) * idf[given.indices], given.indices, given.indptr), shape=given.shape)


def _lengths(given: csr_array) -> Numbers:
    row = np.repeat(np.arange(given.shape[0]), np.diff(given.indptr))
    found: Numbers = np.sqrt(np.bincount(row, given.data**2, minlength=given.shape[0])).astype(np.float32)
    return found


def _divided(given: csr_array, by: NDArray[np.floating[Any]]) -> csr_array:
    """Each row by a number, float32."""
    data = given.data / np.repeat(by, np.diff(given.indptr))
    return csr_array((data, given.indices, given.indptr), shape=given.shape)


def _columns(given: csr_array) -> NDArray[np.int64]:
    """Those with an entry."""
    return np.flatnonzero(np.bincount(given.indices, minlength=given.shape[1]))
