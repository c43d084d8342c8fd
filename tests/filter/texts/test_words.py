import numpy as np
import pytest
from forgetfilter.filter.texts.words import ANSWER_CHARACTERS, BUCKETS, PROMPT_CHARACTERS, counts
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.data.records import Record


def record(answer: str, prompt: str = "") -> Record:
    user = [{"role": "user", "content": prompt}] if prompt else []
    return Record("0", [*user, {"role": "assistant", "content": answer}], "s")


def test_words_and_pairs_of_the_prompt_and_of_the_answer_once_more() -> None:
    # "a b" answered by "b b": 4 words (b thrice), 3 pairs, and the answer's 2 words and 1 pair under its mark
    (row,) = counts([record("B b", "a b")]).toarray()
    assert sorted(row[row > 0].tolist()) == [
        1,
        1,
        1,
        2,
        2,
        3,
    ]  # a, ab, the answer's bb; bb (across and in it), its b; b
    assert counts([record("b b", "a b")]).indices.tolist() == np.flatnonzero(row).tolist()  # case says nothing


def test_the_buckets_are_the_same_on_every_machine() -> None:
    # forecasts of one machine's ranks go with another's
    assert counts([record("one two")]).indices.tolist() == [33403, 38673, 54245, 80797, 81451, 193391]


def test_who_says_it_matters() -> None:
    # the same words in the same order, but not of the same speaker
    one, other = counts([record("no never", "yes"), record("never", "yes no")]).toarray() > 0
    assert one.any() and (one != other).any()


@pytest.mark.parametrize(("text", "words"), [("ไม่ดี", 5), ("危険物", 3), ("abc危", 2)])
def test_scripts_without_blanks(text: str, words: int) -> None:
    # each character is a word, so that texts share some; a run of Latin letters is one word still
    row = counts([record(text)])
    assert row.sum() == 2 * (words + words - 1)  # words and pairs, and both under the answer's mark


def test_long_texts_are_read_in_part() -> None:
    # the end of the prompt and the beginning of the answer
    long = "x " * 5_000
    whole = counts([record(f"a b {long}c", f"d {long}e f")])
    short = counts([record(f"a b {long}"[:ANSWER_CHARACTERS], f"{long}e f"[-PROMPT_CHARACTERS:])])
    assert (whole != short).nnz == 0


@given(st.lists(st.text(max_size=30), max_size=6))
@settings(max_examples=40, deadline=None)
def test_rows_do_not_depend_on_each_other(texts: list[str]) -> None:
    # whatever the characters: counted together as one by one
    together = counts([record(text) for text in texts])
    assert together.shape == (len(texts), BUCKETS)
    assert all((together[[n]] != counts([record(text)])).nnz == 0 for n, text in enumerate(texts))
