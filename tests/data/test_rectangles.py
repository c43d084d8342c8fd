"""Batches whose rows are padded: their budget is of places, so that a memory that holds one batch holds all."""

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.data.accumulation import in_steps
from forgetfilter.data.batches import MicroBatches, TrainingPlan, plan_scoring
from forgetfilter.data.rectangles import even_rectangles, fewest_rectangles, plan_padded

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40).map(np.array)


def places(lengths: Any, rows: Any) -> int:
    return int(len(rows) * max(lengths[rows], default=0))


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 300))
def test_scoring_batches_keep_their_places_within_the_budget(lengths: Any, budget: int) -> None:
    # Each row is in one batch, none takes more places than the budget but for a row alone, and the next row would have
    # been too much.
    batches = plan_scoring(lengths, budget, padded=True)
    assert sorted(np.concatenate(batches).tolist()) == [*range(len(lengths))]
    assert all(places(lengths, rows) <= budget or len(rows) == 1 for rows in batches)
    for rows, following in pairwise(batches):
        assert places(lengths, np.append(rows, following[0])) > budget


def test_one_long_row_does_not_multiply_short_ones() -> None:
    # By tokens, 20 rows of 2 and one of 40 are a batch of 80, which has 21 * 40 places; by places they are two batches.
    lengths = np.array([2] * 20 + [40])
    assert [len(rows) for rows in plan_scoring(lengths, 80)] == [21]
    assert [len(rows) for rows in plan_scoring(lengths, 80, padded=True)] == [20, 1]
    assert plan_scoring(np.array([], dtype=np.int64), 7, padded=True) == []


def test_an_entry_of_several_rows_takes_the_places_of_all() -> None:
    # Prompts with 3, 1 and 2 answers, the longest of which have 4, 4 and 5 tokens: 16 places, then 10.
    found = plan_padded(np.array([4, 4, 5]), 16, np.array([3, 1, 2]))
    assert [rows.tolist() for rows in found] == [[0, 1], [2]]


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.integers(1, 300), st.integers(1, 3))
def test_micro_batches_keep_their_places_within_the_budget(
    lengths: Any, batch_size: int, budget: int, world_size: int
) -> None:
    # Every row of a step is in one micro-batch; none takes more than the budget but for a row alone, and with a
    # micro-batch less for each rank one of some step would.
    plan = TrainingPlan(lengths, lengths - 1, 0, 2, batch_size, budget, world_size, padded=True)

    def too_large(rows: Any) -> bool:
        return len(rows) > 1 and plan.taken(rows) > budget

    fewer = []
    for step in range(plan.num_steps):
        rows = plan.rows(step)
        bins = plan.split(rows, world_size * plan.accumulation)
        assert sorted(np.concatenate(bins).tolist()) == sorted(rows.tolist())
        assert not any(map(too_large, bins))
        if plan.accumulation > 1:
            fewer += plan.split(rows, world_size * (plan.accumulation - 1))
    assert any(map(too_large, fewer)) or plan.accumulation == 1


def test_rectangles_of_a_step_are_golden() -> None:
    # Of rows of 9, 5, 4, 4, 1 and 1 tokens two bins have at best 18 places each: 9 and 5 together, or 9 alone and five
    # rows of 5 would have 25. Three have 9 alone, 3 * 5, and the two short ones; four bins leave none larger than 9.
    lengths, rows = np.array([1, 5, 4, 9, 4, 1]), np.arange(6)
    found = {parts: [lengths[part].tolist() for part in even_rectangles(rows, lengths, parts)] for parts in (2, 3, 4)}
    assert found == {2: [[9, 5], [4, 4, 1, 1]], 3: [[9], [5, 4], [4, 1, 1]], 4: [[9], [5], [4, 4], [1, 1]]}
    assert [fewest_rectangles([in_steps(lengths, 6)], budget, 1) for budget in (54, 18, 12, 9, 1)] == [1, 2, 3, 4, 6]
    assert fewest_rectangles([in_steps(lengths, 6)], 9, 3) == 2


def test_a_micro_batch_that_is_too_large_is_cut_by_its_places() -> None:
    # Four rows of 9, 2, 2 and 2 tokens have 15 tokens and 36 places: with less room, the long one goes alone.
    lengths = np.array([9, 2, 2, 2])
    plan = TrainingPlan(lengths, lengths - 1, 0, 1, 4, 100, 1, padded=True)
    batches = MicroBatches(plan, lambda row: ([1] * int(lengths[row]), [(1, int(lengths[row]))]), 0, "padded", 0)
    whole = batches[0]
    assert [tuple(part["input_ids"].shape) for part in batches.split(whole, 36)] == [(4, 9)]
    parts = batches.split(whole, 35)
    assert [tuple(part["input_ids"].shape) for part in parts] == [(1, 9), (3, 2)]
    assert {float(part["norm"]) for part in parts} == {float(whole["norm"])}
