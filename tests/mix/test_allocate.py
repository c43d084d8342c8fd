import random

from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.mix.benchmarks.allocate import allocate, even_shares


def test_the_remainder_goes_to_the_first() -> None:
    # 8 in 3 parts are 3, 3 and 2.
    assert even_shares(8, 3) == [3, 3, 2]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 20))
def test_parts_add_up_and_differ_by_one_at_most(total: int, parts: int) -> None:
    # The parts of a whole number add up to it and differ by one at most.
    split = even_shares(total, parts)
    assert sum(split) == total
    assert max(split) - min(split) <= 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 99))
def test_single_rows_that_just_suffice_are_handed_out_exactly(first: int, second: int, seed: int) -> None:
    # If there are just as many one-row groups as are needed, each set has exactly what it needs.
    counts = {str(n): {"a": 1, "b": 1} for n in range(first + second)}
    homes = list(allocate(counts, {"a": first, "b": second}, random.Random(seed)).values())
    assert (homes.count("a"), homes.count("b")) == (first, second)


def test_a_group_goes_only_where_it_serves() -> None:
    # A group that only one set can use goes to that set, and one that none can use goes to none.
    homes = allocate({"x": {"a": 2}, "y": {"b": 1}, "z": {}}, {"a": 5, "b": 1}, random.Random(0))
    assert homes == {"x": "a", "y": "b"}


def test_spare_groups_are_spread_in_proportion_to_the_needs() -> None:
    # With needs of 1 to 3 the 80 groups are divided into 20 and 60, so that a set's rows come from many groups.
    counts = {str(n): {"a": 1, "b": 1} for n in range(80)}
    homes = list(allocate(counts, {"a": 10, "b": 30}, random.Random(1)).values())
    assert (homes.count("a"), homes.count("b")) == (20, 60)
