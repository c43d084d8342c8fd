from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.data.batches import SPANS, MicroBatches, TrainingPlan, collate, layout_for, plan_scoring, split_evenly
from forgetfilter.data.turns import after_prompt

LENGTHS = st.lists(st.integers(2, 30), min_size=1, max_size=25).map(np.array)
BUDGET = 40
PAD = 0


def plan(lengths: Any, world: int, **more: int) -> TrainingPlan:
    options = {"seed": 0, "epochs": 2, "batch_size": 6, "micro_batch_tokens": BUDGET} | more
    return TrainingPlan(lengths, lengths - 1, world_size=world, **options)


def micro_batches(made: TrainingPlan, rank: int) -> Iterator[tuple[int, Any]]:
    """(step, rows) of each micro-batch of a rank."""
    for number in range(made.num_steps * made.accumulation):
        yield number // made.accumulation, made.micro_batch(rank, number)


@settings(max_examples=25, deadline=None)
@given(LENGTHS)
def test_every_row_once_an_epoch_and_the_same_step_for_any_world(lengths: Any) -> None:
    # For 1 to 4 ranks the rows of all ranks are together the step's rows, and an epoch's steps hold every row once.
    for world in (1, 2, 3, 4):
        made = plan(lengths, world)
        by_step: dict[int, list[int]] = {step: [] for step in range(made.num_steps)}
        for rank in range(world):
            for step, rows in micro_batches(made, rank):
                by_step[step] += rows.tolist()
        for step, rows in by_step.items():
            assert sorted(rows) == sorted(plan(lengths, 1).rows(step).tolist())
            assert made.step_labels(step) == int((lengths[rows] - 1).sum())
        for epoch in range(2):
            steps = (step for step in range(made.num_steps) if made.epoch(step) == epoch)
            assert sorted(row for step in steps for row in by_step[step]) == list(range(len(lengths)))


@settings(max_examples=25, deadline=None)
@given(LENGTHS, st.integers(1, 4))
def test_micro_batches_keep_the_budget(lengths: Any, world: int) -> None:
    # No micro-batch exceeds the budget of 40 tokens if every row is shorter than that.
    made = plan(lengths, world)
    for rank in range(world):
        assert all(lengths[rows].sum() <= BUDGET for _, rows in micro_batches(made, rank) if len(rows))


def test_a_row_longer_than_the_budget_goes_alone() -> None:
    # A row of 100 tokens against a budget of 40 has a micro-batch of its own.
    lengths = np.array([100, 5, 5, 5])
    together = [rows.tolist() for _, rows in micro_batches(plan(lengths, 1, epochs=1), 0)]
    assert [0] in together and sorted(chain(*together)) == [0, 1, 2, 3]


def test_the_order_is_a_function_of_seed_epoch_and_position() -> None:
    # The steps are the same asked in any sequence and of a fresh plan or a used one, which a resumed run needs, and
    # other epochs and seeds have other orders.
    lengths = np.full(20, 3)
    used = plan(lengths, 1)
    last_first = [used.rows(step).tolist() for step in reversed(range(used.num_steps))]
    assert last_first[::-1] == [plan(lengths, 2).rows(step).tolist() for step in range(used.num_steps)]
    first, second = ([row for i in range(4) for row in used.rows(4 * epoch + i).tolist()] for epoch in (0, 1))
    assert first != second
    assert plan(lengths, 1, seed=1).rows(0).tolist() != used.rows(0).tolist()


@settings(max_examples=25, deadline=None)
@given(LENGTHS)
def test_scoring_batches_cover_every_row_once_within_the_budget(lengths: Any) -> None:
    # The batches hold every row once, sorted by length, and only a single row may exceed the budget.
    batches = plan_scoring(lengths, 25)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(lengths[rows].sum() <= 25 or len(rows) == 1 for rows in batches)
    assert (np.diff(lengths[np.concatenate(batches)]) >= 0).all()


def test_scoring_batches_are_golden() -> None:
    # Lengths 5, 2, 9 and 4 with a budget of 7 are sorted as 2, 4, 5, 9: 2 and 4 fit together, 5 would make 11, and 9 is
    # alone.
    assert [rows.tolist() for rows in plan_scoring(np.array([5, 2, 9, 4]), 7)] == [[1, 3], [0], [2]]
    assert plan_scoring(np.array([], dtype=np.int64), 7) == []


def test_bins_are_even() -> None:
    # The longest row comes first and each goes to the emptiest bin: 9, then 5 and 4 in the other, and 3 to the first of
    # two equal bins.
    bins = split_evenly(np.array([0, 1, 2, 3]), np.array([9, 5, 4, 3]), 2)
    assert [part.tolist() for part in bins] == [[0, 3], [1, 2]]


@st.composite
def examples_of_several_answers(draw: st.DrawFn) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Up to 6 examples of 2 to 12 tokens, each with one to three answers apart from each other."""
    found = []
    for _ in range(draw(st.integers(1, 6))):
        length = draw(st.integers(2, 12))
        most = min(3, length // 2)
        places = sorted(draw(st.sets(st.integers(1, length), min_size=2, max_size=2 * most)))
        ids = draw(st.lists(st.integers(1, 99), min_size=length, max_size=length))
        found.append((ids, list(zip(places[::2], places[1::2]))))
    return found


@settings(max_examples=60, deadline=None)
@given(examples_of_several_answers(), st.sampled_from(["row", "rows", "padded"]))
def test_each_label_is_predicted_from_the_token_before_it(
    examples: list[tuple[list[int], list[tuple[int, int]]]], layout: str
) -> None:
    # At loss_positions stands the token before the label, of the same example and at its own position in it. An EOS
    # that equals the pad token (0) is a label like any other, and tokens between the answers are no labels.
    examples = [([*ids[:-1], PAD], turns) for ids, turns in examples]
    batch = collate(examples, list(range(10, 10 + len(examples))), layout, PAD)
    inputs = batch["input_ids"].flatten()
    for number, (ids, turns) in enumerate(examples):
        mine = batch["loss_segments"] == number
        places = batch["loss_positions"][mine]
        learned = [place for start, end in turns for place in range(start, end)]
        assert batch["loss_targets"][mine].tolist() == [ids[place] for place in learned]
        assert inputs[places].tolist() == [ids[place - 1] for place in learned]
        start = int(places[0]) - (learned[0] - 1)
        assert places.tolist() == [start + place - 1 for place in learned]
        assert inputs[start : start + len(ids)].tolist() == ids
        if layout == "padded":
            assert batch["attention_mask"][number].tolist() == [1] * len(ids) + [0] * (
                inputs.numel() // len(examples) - len(ids)
            )
        else:
            assert batch["position_ids"].flatten()[start : start + len(ids)].tolist() == list(range(len(ids)))
    assert batch["rows"].tolist() == list(range(10, 10 + len(examples)))
    assert len(batch["input_ids"]) == {"row": 1, "padded": len(examples)}.get(layout, len(batch["input_ids"]))


def test_packed_rows_are_as_wide_as_the_longest() -> None:
    # 6, 4 and 2 tokens make two rows of six packed, one row of twelve, or three rows of six padded.
    examples = [([1] * 6, [(1, 6)]), ([2] * 4, [(1, 4)]), ([3] * 2, [(1, 2)])]
    shapes = {
        name: tuple(collate(examples, [0, 1, 2], name, PAD)["input_ids"].shape) for name in ("row", "rows", "padded")
    }
    assert shapes == {"row": (1, 12), "rows": (2, 6), "padded": (3, 6)}


@pytest.mark.parametrize(
    ("attention", "packing", "layout"),
    [
        ("flash_attention_2", True, "row"),
        ("varlen", True, "row"),
        ("sdpa", True, "rows"),
        ("eager", True, "rows"),
        ("sdpa", False, "padded"),
    ],
)
def test_the_layout_fits_the_attention(attention: str, packing: bool, layout: str) -> None:
    # Only variable-length kernels take one long row.
    assert layout_for(attention, packing) == layout


def test_one_row_says_where_its_examples_end() -> None:
    # One long row names the ends of its examples by the arguments of transformers' variable-length attention, and the
    # other layouts do not.
    examples = [([1] * 6, [(1, 6)]), ([2] * 4, [(1, 4)]), ([3] * 2, [(1, 2)])]
    row = collate(examples, [0, 1, 2], "row", PAD)
    assert row["cu_seq_lens_q"].tolist() == row["cu_seq_lens_k"].tolist() == [0, 6, 10, 12]
    assert row["cu_seq_lens_q"].dtype == torch.int32 and row["max_length_q"] == row["max_length_k"] == 6
    assert not set(SPANS) & {*collate(examples, [0, 1, 2], "rows", PAD), *collate(examples, [0, 1, 2], "padded", PAD)}


def test_a_rank_without_rows_takes_part_without_labels() -> None:
    # If one example is divided among three ranks, two of them have a batch without labels, and all know the step's
    # label tokens.
    lengths = np.array([4])
    made = plan(lengths, 3, epochs=1)
    batches = [MicroBatches(made, lambda row: ([7, 8, 9, PAD], [(1, 4)]), rank, "rows", PAD)[0] for rank in range(3)]
    assert sorted(len(batch["loss_targets"]) for batch in batches) == [0, 0, 3]
    assert sorted(int(batch["rows"][0]) for batch in batches) == [-1, -1, 0]
    assert all(batch["norm"] == torch.tensor(3.0) and batch["epoch"] == 0 for batch in batches)


@settings(max_examples=25, deadline=None)
@given(LENGTHS, st.integers(0, 25), st.integers(1, 3))
def test_a_second_part_comes_after_all_epochs_of_the_first(lengths: Any, last_rows: int, last_epochs: int) -> None:
    # Each row of a part comes once in each of its epochs, in steps of its own, for any number of ranks.
    last_rows = min(last_rows, len(lengths) - 1)
    first = list(range(len(lengths) - last_rows))
    last = list(range(len(first), len(lengths)))
    for world in (1, 3):
        made = plan(lengths, world, last_rows=last_rows, last_epochs=last_epochs)
        by_epoch: dict[int, list[int]] = {}
        for step in range(made.num_steps):
            by_epoch.setdefault(made.epoch(step), []).extend(made.rows(step).tolist())
        learned = [sorted(rows) for _, rows in sorted(by_epoch.items())]
        assert learned == [first] * 2 + ([last] * last_epochs if last else [])
        steps = [-(-len(part) // 6) for part in (first, last)]
        assert made.part_steps == [number for number in (2 * steps[0], last_epochs * steps[1]) if number]
    assert plan(lengths, 1).rows(0).tolist() == plan(lengths, 1, last_rows=0, last_epochs=3).rows(0).tolist()


@pytest.mark.parametrize("most", [1, 12, 20, 1000])
def test_a_micro_batch_is_cut_into_the_fewest_that_fit(most: int) -> None:
    # The parts hold each example once and have the normaliser of the step, and only a single example may exceed the
    # bound.
    made = plan(np.array([9, 3, 12, 5, 7, 2, 11, 6, 8, 4, 10, 3]), 1, batch_size=12, micro_batch_tokens=1000)
    data = MicroBatches(made, lambda row: after_prompt(np.arange(int(made.lengths[row])), 1), 0, "rows", 0)
    whole = data[0]
    parts = data.split(whole, most)
    assert sorted(torch.cat([part["rows"] for part in parts]).tolist()) == sorted(whole["rows"].tolist())
    for part in parts:
        tokens = int(made.lengths[part["rows"].numpy()].sum())
        assert tokens <= most or len(part["rows"]) == 1
        assert part["norm"] == whole["norm"] and part["epoch"] == whole["epoch"]
    assert len(data.split(whole, 10**9)) == 1
