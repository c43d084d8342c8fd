"""Texts as words and pairs of words, hashed to BUCKETS. Those of the prompt's end and of what is learned are
counted together, and those of what is learned once more under a mark of their own, so that it matters who says a word.

The hashes are the same on every machine. Scripts without blanks between words give single characters and pairs of them,
as is usual for these.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from forgetfilter.data.records import Record

BUCKETS = 2**18
PROMPT_CHARACTERS, ANSWER_CHARACTERS = 600, 2_000  # the last words of the prompt, and the first of the answer
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: its multiples spread over the high bits (Knuth)
_SECOND, _MARK = np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_HIGH = np.uint64(64 - 18)

Words = NDArray[np.uint64]


def counts(records: Iterable[Record]) -> csr_array:
    """How often each bucket's words and pairs are in each record: [n, BUCKETS], float32."""
    found = list(_each(records))
    lengths = np.array([[len(prompt), len(answer)] for prompt, answer in found], dtype=np.int64).reshape(-1, 2)
    word = np.array([hashed for pair in found for part in pair for hashed in part], dtype=np.uint64)
    row = np.repeat(np.arange(len(found)), lengths.sum(1))
    answer = np.repeat(np.tile([False, True], len(found)), lengths.ravel())
    pair = np.flatnonzero(row[1:] == row[:-1])
    both = word[pair] * _SECOND ^ word[pair + 1]
    said = answer[pair]  # pairs whose first word is the answer's: so is the second
    features = np.concatenate([word, both, word[answer] ^ _MARK, both[said] ^ _MARK])
    rows = np.concatenate([row, row[pair], row[answer], row[pair][said]])
    return _summed(rows, bucket(features), len(found))


def bucket(hashed: Words) -> NDArray[np.int64]:
    """0 to BUCKETS - 1."""
    spread: NDArray[np.int64] = (hashed * _ODD >> _HIGH).astype(np.int64)
    return spread


def _summed(rows: NDArray[np.int64], buckets: NDArray[np.int64], count: int) -> csr_array:
    """One entry a row and bucket, in their order."""
    key = np.sort(rows * BUCKETS + buckets)
    first = np.flatnonzero(np.diff(key, prepend=-1))
    number = np.diff(np.append(first, len(key))).astype(np.float32)
    own = key[first]
    starts = np.searchsorted(own, np.arange(count + 1) * BUCKETS)
    return csr_array((number, (own % BUCKETS).astype(np.int32), starts), shape=(count, BUCKETS))


def _each(records: Iterable[Record]) -> Iterator[tuple[list[int], list[int]]]:
    """The hashed words of the end of each prompt, and of its answer."""
    known: dict[str, int] = {}  # most words come again and again

    def hashed(text: str) -> list[int]:
        words = _WORD.findall(text.lower())
        for word in words:
            if word not in known:
                known[word] = crc32(word.encode("utf-8", "replace"))
        return [known[word] for word in words]

    for record in records:
        prompt, answer = "\n".join(record.context), "\n".join(record.answers)
        yield hashed(prompt[-PROMPT_CHARACTERS:]), hashed(answer[:ANSWER_CHARACTERS])


def in_pieces(records: Iterator[Record], rows: int) -> Iterator[csr_array]:
    """`counts` of so many records at a time."""
    while piece := list(islice(records, rows)):
        yield counts(piece)
