from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.data.accumulation import fewest_micro_batches, in_steps
from forgetfilter.data.batches import TrainingPlan, plan_scoring, split_evenly

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40).map(np.array)


def step_by_step(plan: TrainingPlan) -> int:
    """The reference: each step by itself, split as the training splits it."""

    def fits(accumulation: int) -> bool:
        return all(
            plan.lengths[bin_].sum() <= plan.micro_batch_tokens or len(bin_) == 1
            for step in range(plan.num_steps)
            for bin_ in split_evenly(plan.rows(step), plan.lengths, plan.world_size * accumulation)
            if len(bin_)
        )

    tokens = max(int(plan.lengths[plan.rows(step)].sum()) for step in range(plan.num_steps))
    fewest = max(1, -(-tokens // (plan.micro_batch_tokens * plan.world_size)))
    while fewest < plan.batch_size and not fits(fewest):
        fewest += 1
    return fewest


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.integers(1, 90), st.integers(1, 3), st.integers(0, 10))
def test_it_is_what_a_walk_over_all_steps_finds(
    lengths: Any, batch_size: int, budget: int, world_size: int, last_rows: int
) -> None:
    # The number equals that of a walk over all steps for any lengths, with rows that exceed the budget, steps that are
    # not full and a second part of the data.
    last_rows = min(last_rows, len(lengths) - 1)
    plan = TrainingPlan(lengths, lengths - 1, 0, 2, batch_size, budget, world_size, last_rows, last_epochs=1)
    assert plan.accumulation == step_by_step(plan)


def scored_row_by_row(lengths: Any, batch_tokens: int) -> list[list[int]]:
    """The reference of plan_scoring: the shortest row first, a new batch where the next row would be too much."""
    batches, used = [[]], 0
    for row in np.argsort(lengths, kind="stable"):
        if used + lengths[row] > batch_tokens and batches[-1]:
            batches.append([])
            used = 0
        batches[-1].append(int(row))
        used += int(lengths[row])
    return batches


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 150))
def test_scoring_batches_are_those_of_a_walk_over_all_rows(lengths: Any, batch_tokens: int) -> None:
    # The batches equal those of a walk that adds row by row.
    assert [rows.tolist() for rows in plan_scoring(lengths, batch_tokens)] == scored_row_by_row(lengths, batch_tokens)


@pytest.mark.parametrize(
    ("lengths", "budget", "fewest"),
    [
        ([5, 5, 5, 5], 20, 1),
        ([5, 5, 5, 5], 19, 2),
        ([9, 5, 4, 4], 11, 3),  # in two bins 9 + 4 is too much, though 22 tokens would fill two
        ([50, 5, 5, 5], 30, 3),  # the long row goes alone, and 15 beside it would fit, but 65 tokens ask for three
        ([2, 2, 2, 2], 1, 8),  # no number keeps the budget: each row goes alone, beside empty ones
    ],
)
def test_steps_of_four_rows_are_golden(lengths: list[int], budget: int, fewest: int) -> None:
    # A step of four rows needs the fewest micro-batches that were found by hand.
    assert fewest_micro_batches([in_steps(np.array(lengths), 4)], budget, 1) == fewest


def test_golden_plan() -> None:
    # For 1,000 rows of a fixed draw the numbers are those that the walk over all steps gave.
    lengths = np.random.default_rng(7).integers(2, 400, 1000)
    found = [TrainingPlan(lengths, lengths - 1, 3, 2, 32, budget, 2).accumulation for budget in (400, 500, 1000, 4096)]
    assert found == [12, 10, 5, 1]
