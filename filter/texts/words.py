"""Texts as words and pairs of words, hashed to BUCKETS. Those of the prompt's end and of what is learned are
counted together, and those of what is learned once more under a mark of their own, so that it matters who says a word.

A word has pieces too, of two to five characters, its beginning and end marked by blanks. A misspelt word, an inflected
one and one that no row had before share most of their pieces with words that are known (Bojanowski et al., Enriching
Word Vectors with Subword Information, TACL 2017).

The hashes are the same on every machine. Scripts without blanks between words give single characters and pairs of them,
as is usual for these.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from forgetfilter.data.records import Record

BUCKETS = 2**18
PROMPT_CHARACTERS, ANSWER_CHARACTERS = 600, 2_000  # the last words of the prompt, and the first of the answer
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
LONGEST = 5  # characters of a piece
READ = 30  # characters of a word, since what is longer is no word of a language
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: its multiples spread over the high bits (Knuth)
_NEXT = np.uint64(0xC2B2AE3D27D4EB4F)  # xxHash's second prime: a hash is multiplied by it before the next one is added
_MARK = np.uint64(0x165667B19E3779F9)  # its third prime: tells the answer's words from all words
_HIGH = np.uint64(64 - 18)

Words = NDArray[np.uint64]
Places = NDArray[np.int64]


class Vocabulary(dict[str, int]):
    """Words, numbered in the order in which they are asked for."""

    def __init__(self) -> None:
        self.hashes: list[int] = []

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        self.hashes.append(crc32(word.encode("utf-8", "replace")))
        return number

    def buckets(self, first: int) -> Places:
        """[2 first] the bucket of each of the first words, and of each where an answer says it."""
        words = np.array(self.hashes[:first], dtype=np.uint64)
        return bucket(np.concatenate([words, words ^ _MARK]))


@dataclass(frozen=True)
class Counts:
    """How often n records have words, float32."""

    hashed: csr_array
    """[n, BUCKETS] each bucket's words and pairs."""
    whole: csr_array
    """[n, V] each of the vocabulary's V words, and no pairs."""
    answer: csr_array
    """[n, V] the same in the answer alone."""


def counts(records: Iterable[Record], vocabulary: Vocabulary) -> Counts:
    """Adds the words to the vocabulary."""
    found = [_numbers(record, vocabulary) for record in records]
    lengths = np.array([[len(prompt), len(answer)] for prompt, answer in found], dtype=np.int64).reshape(-1, 2)
    number = np.array([word for both in found for part in both for word in part], dtype=np.int64)
    row = np.repeat(np.arange(len(found)), lengths.sum(1))
    answer = np.repeat(np.tile([False, True], len(found)), lengths.ravel())
    word = np.array(vocabulary.hashes, dtype=np.uint64)[number]
    pair = np.flatnonzero(row[1:] == row[:-1])
    both = word[pair] * _NEXT ^ word[pair + 1]
    said = answer[pair]  # pairs whose first word is the answer's: so is the second
    features = np.concatenate([word, both, word[answer] ^ _MARK, both[said] ^ _MARK])
    rows = np.concatenate([row, row[pair], row[answer], row[pair][said]])
    return Counts(
        summed(rows, bucket(features), len(found)),
        summed(row, number, len(found), len(vocabulary)),
        summed(row[answer], number[answer], len(found), len(vocabulary)),
    )


def counts_of_all(records: Iterator[Record], vocabulary: Vocabulary, at_a_time: int) -> Counts:
    """The same of any number of records, of which so many are in memory at a time."""
    parts = [counts(islice(records, 0), vocabulary)]
    while some := list(islice(records, at_a_time)):
        parts.append(counts(some, vocabulary))
    for part in parts:
        part.whole.resize(part.whole.shape[0], len(vocabulary))
        part.answer.resize(part.answer.shape[0], len(vocabulary))
    each = zip(*((part.hashed, part.whole, part.answer) for part in parts), strict=True)
    return Counts(*(vstack(matrices, format="csr") for matrices in each))


def subwords(words: Sequence[str]) -> csr_array:
    """How often each bucket's pieces are in each word: [n, BUCKETS], float32.

    Example: "cat" is read as " cat ". Its pieces are " c", "ca", "at", "t ", " ca", "cat", "at ", " cat", "cat " and
    " cat ".
    """
    marked = [f" {word[:READ]} " for word in words]
    points = np.frombuffer("".join(marked).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    word = np.repeat(np.arange(len(words)), [len(text) for text in marked])
    hashed, rows, found = points + np.uint64(1), list[NDArray[np.int64]](), list[NDArray[np.int64]]()
    for size in range(2, LONGEST + 1):
        hashed = hashed[:-1] * _NEXT + points[size - 1 :]  # of the `size` characters from each place on
        whole = word[: -size + 1] == word[size - 1 :]
        rows.append(word[: -size + 1][whole])
        found.append(bucket(hashed[whole]))
    return summed(np.concatenate(rows), np.concatenate(found), len(words))


def bucket(hashed: Words) -> Places:
    """0 to BUCKETS - 1."""
    spread: Places = (hashed * _ODD >> _HIGH).astype(np.int64)
    return spread


def summed(rows: Places, columns: Places, count: int, width: int = BUCKETS) -> csr_array:
    """[count, width] how often each row has each column: one entry each, in their order."""
    key = np.sort(rows * width + columns)
    first = np.flatnonzero(np.diff(key, prepend=-1))
    number = np.diff(np.append(first, len(key))).astype(np.float32)
    own = key[first]
    starts = np.searchsorted(own, np.arange(count + 1) * width)
    return csr_array((number, (own % width).astype(np.int32), starts), shape=(count, width))


def _numbers(record: Record, vocabulary: Vocabulary) -> tuple[list[int], list[int]]:
    """The words of the end of the prompt, and those of the answer."""
    prompt, answer = "\n".join(record.context), "\n".join(record.answers)
    read = prompt[-PROMPT_CHARACTERS:], answer[:ANSWER_CHARACTERS]
    said, answered = (_WORD.findall(text.lower()) for text in read)
    return [vocabulary[word] for word in said], [vocabulary[word] for word in answered]
