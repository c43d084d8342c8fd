import numpy as np
from forgetfilter.filter.texts.subwords import READ, subwords
from forgetfilter.filter.texts.words import BUCKETS
from hypothesis import given, settings
from hypothesis import strategies as st


def test_the_pieces_of_a_word() -> None:
    # " cat " has four pieces of two characters, three of three, two of four and one of five, and "aaa" has some of them
    # twice.
    found = subwords(["cat", "aaa", ""])
    assert found.shape == (3, BUCKETS) and found.sum(axis=1).tolist() == [10, 10, 1]
    assert sorted(found[[0]].data.tolist()) == [1] * 10 and sorted(found[[1]].data.tolist()) == [1] * 8 + [2]


def test_the_buckets_are_the_same_on_every_machine() -> None:
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
