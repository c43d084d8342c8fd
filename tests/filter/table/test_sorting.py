import threading
from collections.abc import Iterator

import numpy as np
import pytest
from forgetfilter.filter.table import sorting as module
from forgetfilter.filter.table.sorting import descending, in_order
from forgetfilter.filter.table.threads import THREADS, ahead
from hypothesis import example, given, settings
from hypothesis import strategies as st

keys = st.lists(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 3), st.integers(2**63, 2**63 + 40)), max_size=60)


@given(values=keys, part=st.sampled_from([1, 3, 1000]))
@example(values=[2**64 - 1, 0, 1, 0], part=1000)  # the widest range: the lowest bits alone part 0 from 1
@example(values=[2**64 - 1, 2**63 + 1, 1, 2**62, 2**63, 0, 2**63 + 1, 0], part=1000)  # so twice
@settings(max_examples=60, deadline=None)
def test_rows_in_the_order_of_their_keys(values: list[int], part: int) -> None:
    # The order is that of NumPy's stable sort for parts of any size, no key is in two parts, and a second list is
    # divided by the same bounds.
    given_keys = np.array(values, dtype=np.uint64)
    other = given_keys[::-1].copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PART", part)
        found = list(in_order([given_keys, other]))
    rows = np.concatenate([rows for (rows, _), _ in found])
    assert rows.tolist() == np.argsort(given_keys, kind="stable").tolist()
    assert all((given_keys[rows] == own).all() and (own == there).all() for (rows, own), (_, there) in found)
    distinct = [set(own.tolist()) for (_, own), _ in found]
    assert sum(map(len, distinct)) == len(set(values))


def test_a_key_of_most_rows_is_alone_in_its_part() -> None:
    # A key of many rows has a part of its own, in which nothing is left to sort, and its neighbours are in other parts.
    given_keys = np.array([5] * 50 + list(range(6, 16)) + [2**64 - 1] * 40, dtype=np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PART", 10)
        found = [set(own.tolist()) for ((_, own),) in in_order([given_keys])]
    assert {5} in found and {2**64 - 1} in found
    assert sorted(key for part in found for key in part) == [*range(5, 16), 2**64 - 1]


@given(values=st.lists(st.floats(width=64), max_size=40))
@example(values=[0.0, -0.0, float("nan"), float("inf"), -float("inf"), 5e-324, -5e-324])
@settings(max_examples=60, deadline=None)
def test_keys_of_floats(values: list[float]) -> None:
    # The keys sort the highest value first and NaN last, and equal values, 0.0 and -0.0 among them, have equal keys.
    given_values = np.array(values, dtype=np.float64)
    made = descending(given_values)
    nan = np.isnan(given_values)
    known, own = given_values[~nan], made[~nan]
    assert ((known[:, None] > known[None, :]) == (own[:, None] < own[None, :])).all()
    assert ((known[:, None] == known[None, :]) == (own[:, None] == own[None, :])).all()
    assert (made[nan] > own.max(initial=0)).all()


def test_results_come_in_order_and_few_wait() -> None:
    # A slow first piece does not let the other threads run far ahead, and an error of one piece ends the whole.
    begun, free = [], threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number == 0:
            free.wait(5)
        if number == 7:
            raise ValueError("seven")
        return number

    def given_numbers() -> Iterator[int]:
        for number in range(20):
            assert number <= len(begun) + THREADS
            if number == THREADS:
                free.set()
            yield number

    found = []
    with pytest.raises(ValueError, match="seven"):
        found.extend(ahead(work, given_numbers()))
    assert max(begun) <= 7 + THREADS
