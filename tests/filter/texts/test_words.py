import numpy as np
import pytest
from forgetfilter.filter.texts.words import (
    ANSWER_CHARACTERS,
    BUCKETS,
    PROMPT_CHARACTERS,
    READ,
    Vocabulary,
    counts,
    counts_of_all,
    subwords,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from forgetfilter.data.records import Record


def record(answer: str, prompt: str = "") -> Record:
    user = [{"role": "user", "content": prompt}] if prompt else []
    return Record("0", [*user, {"role": "assistant", "content": answer}], "s")


def hashed(records: list[Record]) -> csr_array:
    return counts(records, Vocabulary()).hashed


def test_words_and_pairs_of_the_prompt_and_of_the_answer_once_more() -> None:
    # "a b" answered by "b b" has 4 words (b three times) and 3 pairs, and once more the answer's 2 words and 1 pair
    # under its mark.
    (row,) = hashed([record("B b", "a b")]).toarray()
    assert sorted(row[row > 0].tolist()) == [
        1,
        1,
        1,
        2,
        2,
        3,
    ]  # a, ab, the answer's bb; bb (across and in it), its b; b
    assert hashed([record("b b", "a b")]).indices.tolist() == np.flatnonzero(row).tolist()  # case says nothing


def test_the_buckets_are_the_same_on_every_machine() -> None:
    # The buckets of a text are golden, because stored weights are read on other machines.
    assert hashed([record("one two")]).indices.tolist() == [33403, 38673, 54245, 80797, 81451, 193391]


def test_who_says_it_matters() -> None:
    # The same words in the same order have other buckets if another speaker says some of them.
    one, other = hashed([record("no never", "yes"), record("never", "yes no")]).toarray() > 0
    assert one.any() and (one != other).any()


@pytest.mark.parametrize(("text", "words"), [("ไม่ดี", 5), ("危険物", 3), ("abc危", 2)])
def test_scripts_without_blanks(text: str, words: int) -> None:
    # In a script without blanks each character is a word, so that texts share some; a run of Latin letters stays one
    # word.
    row = hashed([record(text)])
    assert row.sum() == 2 * (words + words - 1)  # words and pairs, and both under the answer's mark


def test_long_texts_are_read_in_part() -> None:
    # Only the end of a long prompt and the beginning of a long answer are read.
    long = "x " * 5_000
    whole = hashed([record(f"a b {long}c", f"d {long}e f")])
    short = hashed([record(f"a b {long}"[:ANSWER_CHARACTERS], f"{long}e f"[-PROMPT_CHARACTERS:])])
    assert (whole != short).nnz == 0


@given(st.lists(st.text(max_size=30), max_size=6))
@settings(max_examples=40, deadline=None)
def test_rows_do_not_depend_on_each_other(texts: list[str]) -> None:
    # Texts of any characters have together the counts that each has alone.
    together = hashed([record(text) for text in texts])
    assert together.shape == (len(texts), BUCKETS)
    assert all((together[[n]] != hashed([record(text)])).nnz == 0 for n, text in enumerate(texts))


def test_each_word_is_counted_by_itself_too() -> None:
    # Each word is counted in the whole text and in the answer under the number that the vocabulary gives it, and its
    # bucket is that of the hashed words.
    vocabulary = Vocabulary()
    found = counts([record("B b", "a b"), record("c")], vocabulary)
    assert dict(vocabulary) == {"a": 0, "b": 1, "c": 2}
    assert found.whole.toarray().tolist() == [[1, 3, 0], [0, 0, 1]]
    assert found.answer.toarray().tolist() == [[0, 2, 0], [0, 0, 1]]
    # its bucket is that of the hashed words, under the answer's mark that of the answer's words
    said, answered = vocabulary.buckets(3).reshape(2, 3)
    assert found.hashed[0, said[1]] == 3 and found.hashed[0, answered[1]] == 2 and found.hashed[0, answered[0]] == 0


@pytest.mark.parametrize("at_a_time", [1, 2, 5])
def test_few_records_at_a_time_come_to_the_same(at_a_time: int) -> None:
    # Counting a few records at a time gives the vocabulary and the counts of all at once.
    records = [record("a b", "c"), record("d"), record(""), record("b e", "a"), record("f a")]
    together, apart = Vocabulary(), Vocabulary()
    whole, parts = counts(records, together), counts_of_all(iter(records), apart, at_a_time)
    assert together == apart
    for one, other in zip((whole.hashed, whole.whole, whole.answer), (parts.hashed, parts.whole, parts.answer)):
        assert one.shape == other.shape and (one != other).nnz == 0


def test_the_pieces_of_a_word() -> None:
    # " cat " has four pieces of two characters, three of three, two of four and one of five, and "aaa" has some of them
    # twice.
    found = subwords(["cat", "aaa", ""])
    assert found.shape == (3, BUCKETS) and found.sum(axis=1).tolist() == [10, 10, 1]
    assert sorted(found[[0]].data.tolist()) == [1] * 10 and sorted(found[[1]].data.tolist()) == [1] * 8 + [2]


def test_the_buckets_are_the_same_on_every_machine_of_pieces() -> None:
    # The buckets of a word are golden, because stored weights are read on other machines.
    assert subwords(["cat"]).indices.tolist() == [
        470,
        592,
        60786,
        162635,
        181538,
        186754,
        208113,
        213289,
        219838,
        227606,
    ]


def test_words_share_what_they_have_in_common() -> None:
    # Words share the more pieces the longer their common part is, and the beginning of one word is not the end of
    # another.
    word, inflected, other, turned = subwords(["hateful", "hatefully", "garden", "lufetah"]).toarray() > 0
    assert (word & inflected).sum() > 0.6 * word.sum() and (word & other).sum() == 0
    assert not (word & turned & (subwords(["h"]).toarray() > 0)[0]).any()


def test_of_a_long_word_the_beginning_is_read() -> None:
    # Only the first READ characters of a word count, because no word of a language is longer.
    assert subwords(["a" * 5_000]).sum() == subwords(["a" * READ]).sum()


@given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_words_do_not_depend_on_each_other(words: list[str]) -> None:
    # Words of any characters, lone surrogates too, have together the pieces that each has alone.
    words = [*words, "\ud800"]
    together = subwords(words)
    assert all((together[[n]] != subwords([word])).nnz == 0 for n, word in enumerate(words))
    assert np.isfinite(together.data).all()
