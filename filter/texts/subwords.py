"""Subwords: the pieces of two to five characters that a word has, its beginning and end marked by blanks.

A misspelt word, an inflected one and one that no row had before share most of their pieces with words that are known
(Bojanowski et al., Enriching Word Vectors with Subword Information, TACL 2017).

Example: "cat" is read as " cat ". Its pieces are " c", "ca", "at", "t ", " ca", "cat", "at ", " cat", "cat ", " cat ".
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from .words import NEXT, bucket, summed

LONGEST = 5  # characters of a piece
READ = 30  # characters of a word, since what is longer is no word of a language


def subwords(words: Sequence[str]) -> csr_array:
    """How often each bucket's pieces are in each word: [n, BUCKETS], float32."""
    marked = [f" {word[:READ]} " for word in words]
    points = np.frombuffer("".join(marked).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    word = np.repeat(np.arange(len(words)), [len(text) for text in marked])
    hashed, rows, found = points + np.uint64(1), list[NDArray[np.int64]](), list[NDArray[np.int64]]()
    for size in range(2, LONGEST + 1):
        hashed = hashed[:-1] * NEXT + points[size - 1 :]  # of the `size` characters from each place on
        whole = word[: -size + 1] == word[size - 1 :]
        rows.append(word[: -size + 1][whole])
        found.append(bucket(hashed[whole]))
    return summed(np.concatenate(rows), np.concatenate(found), len(words))
