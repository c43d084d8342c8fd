"""Batches planned once for the whole data, and their tensors: examples packed into a row, or padded to one.

A packed row holds several examples one after the other, with position ids that restart at 0; attention backends
that know this (SDPA, flash attention, eager through transformers' masks) keep the examples apart exactly.
"""

import heapq
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from forgetfilter.data.accumulation import fewest_micro_batches, in_steps
from forgetfilter.data.rectangles import even_rectangles, fewest_rectangles, plan_padded
from forgetfilter.data.turns import Encoded, label_places

Batch = dict[str, Any]  # tensors, `packed`, and the numbers of SPANS
# What a batch carries besides the model's own inputs; models/example_losses.py takes it out before the forward pass.
EXTRAS = ("loss_positions", "loss_targets", "loss_segments", "rows", "packed", "norm", "epoch")
# transformers' names for the examples of one row: their ends among its tokens, int32 [E + 1], and the longest, tokens
SPANS = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")


def plan_scoring(lengths: np.ndarray[Any, Any], batch_tokens: int, padded: bool = False) -> list[np.ndarray[Any, Any]]:
    """Row numbers by batch: sorted by length, at most `batch_tokens` tokens together (a longer row goes alone). Where
    they are `padded` to the longest, it is as many places, padding counted.

    A pure function of the lengths, so that no score depends on the world size.
    """
    if padded:
        return plan_padded(lengths, batch_tokens)
    order = np.argsort(lengths, kind="stable")
    ends = np.concatenate([[0], np.cumsum(lengths[order])])  # tokens before each row, and after the last
    most = np.searchsorted(ends, ends[:-1] + batch_tokens, side="right") - 1  # where a batch that begins there ends
    batches, start = [], 0
    while start < len(order):
        end = max(most.item(start), start + 1)
        batches.append(order[start:end])
        start = end
    return batches


@dataclass(frozen=True)
class TrainingPlan:
    """Which rows each optimizer step takes: a pure function of seed, epoch and position, whatever the world size."""

    lengths: np.ndarray[Any, Any]
    num_labels: np.ndarray[Any, Any]
    seed: int
    epochs: int
    batch_size: int
    micro_batch_tokens: int
    world_size: int
    last_rows: int = 0
    """How many rows, from the end of the data, are a second part: it is learned after all epochs of the others."""
    last_epochs: int = 0
    """Passes over the second part."""
    padded: bool = False
    """Whether the examples of a micro-batch are padded to its longest: its budget is then of places, padding counted.
    """

    @cached_property
    def _epochs(self) -> list[tuple[int, int, int]]:
        """(first row, rows, first step) of each epoch; an empty epoch marks the end."""
        first = len(self.lengths) - self.last_rows
        spans = [(0, first)] * self.epochs + [(first, self.last_rows)] * self.last_epochs + [(0, 0)]
        starts = accumulate((-(-rows // self.batch_size) for _, rows in spans), initial=0)
        return [(*span, start) for span, start in zip(spans, starts)]

    @property
    def epoch_rows(self) -> list[int]:
        """How many rows each epoch learns."""
        return [rows for _, rows, _ in self._epochs[:-1]]

    @property
    def num_steps(self) -> int:
        return self._epochs[-1][2]

    @property
    def part_steps(self) -> list[int]:
        """The steps of each part that has rows."""
        first = self._epochs[self.epochs][2]
        return [steps for steps in (first, self.num_steps - first) if steps]

    def epoch(self, step: int) -> int:
        """The epoch of a step; the epochs of the second part continue the count."""
        return bisect(self._epochs, step, key=lambda epoch: epoch[2]) - 1

    def epochs_done(self, steps: int) -> float:
        """How many epochs the first steps are; the epoch in which the last of them lies counts in part."""
        if not steps:
            return 0.0
        epoch = self.epoch(steps - 1)
        first, end = self._epochs[epoch][2], self._epochs[epoch + 1][2]
        return epoch + (steps - first) / (end - first)

    def rows(self, step: int) -> np.ndarray[Any, Any]:
        """The rows of a step; each row of a part once an epoch, the last step of an epoch may be smaller."""
        epoch = self.epoch(step)
        place = (step - self._epochs[epoch][2]) * self.batch_size
        return self._order(epoch)[place : place + self.batch_size]

    @cached_property
    def _order(self) -> Callable[[int], np.ndarray[Any, Any]]:
        """From an epoch to its rows in their order; that of the last epoch asked for is kept."""
        return lru_cache(maxsize=1)(self._drawn)

    def _drawn(self, epoch: int) -> np.ndarray[Any, Any]:
        first, rows, _ = self._epochs[epoch]
        order: np.ndarray[Any, Any] = first + np.random.default_rng([self.seed, epoch]).permutation(rows)
        return order

    @cached_property
    def accumulation(self) -> int:
        """Micro-batches of a step and rank: the fewest that keep every one within the token budget."""
        learned = (self.lengths[self._drawn(epoch)] for epoch, rows in enumerate(self.epoch_rows) if rows)
        by_step = (in_steps(lengths, self.batch_size) for lengths in learned)
        fewest = fewest_rectangles if self.padded else fewest_micro_batches
        return fewest(by_step, self.micro_batch_tokens, self.world_size)

    def split(self, rows: np.ndarray[Any, Any], parts: int) -> list[np.ndarray[Any, Any]]:
        """Rows of a step in `parts` micro-batches that take about as much of the budget; one may be empty."""
        return (even_rectangles if self.padded else split_evenly)(rows, self.lengths, parts)

    def taken(self, rows: np.ndarray[Any, Any]) -> int:
        """What a micro-batch takes of the budget: its tokens, or its places where it is padded."""
        lengths = self.lengths[rows]
        return int(len(rows) * lengths.max(initial=0) if self.padded else lengths.sum())

    def micro_batch(self, rank: int, number: int) -> np.ndarray[Any, Any]:
        """The rows of a rank's micro-batch, `accumulation` of which make a step; none where a step has too few."""
        step, place = divmod(number, self.accumulation)
        return self.split(self.rows(step), self.world_size * self.accumulation)[place * self.world_size + rank]

    def step_labels(self, step: int) -> int:
        """Label tokens of a step over all ranks: what its loss is divided by."""
        return int(self.num_labels[self.rows(step)].sum())

    def step_tokens(self, step: int) -> int:
        """Tokens of a step over all ranks."""
        return int(self.lengths[self.rows(step)].sum())


def split_evenly(rows: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any], parts: int) -> list[np.ndarray[Any, Any]]:
    """Rows split into `parts` bins of about equal tokens: the longest come first, each into the emptiest bin."""
    heap = [(0, part) for part in range(parts)]
    bins: list[list[int]] = [[] for _ in range(parts)]
    for row in sorted(rows.tolist(), key=lambda row: (-int(lengths[row]), row)):
        used, part = heapq.heappop(heap)
        bins[part].append(row)
        heapq.heappush(heap, (used + int(lengths[row]), part))
    return [np.array(part, dtype=np.int64) for part in bins]


def layout_for(attention: str, packing: bool) -> str:
    """How a batch is laid out for an attention backend.

    `row`: all examples in one row, for backends with variable-length kernels. `rows`: packed into rows as wide as
    the longest example, since the masked kernels (SDPA, eager) cost the square of the width. `padded`: one example
    a row and an attention mask, for models that cannot keep packed examples apart.
    """
    if not packing:
        return "padded"
    return "row" if attention.startswith("flash") or attention == "varlen" else "rows"


def row_places(lengths: Sequence[int], layout: str) -> tuple[list[tuple[int, int]], int]:
    """(row, offset) of each example, and the width of a row."""
    if layout == "row":
        ends = np.cumsum(lengths).tolist()
        return [(0, end - length) for end, length in zip(ends, lengths)], ends[-1]
    width = max(lengths)
    if layout == "padded":
        return [(number, 0) for number in range(len(lengths))], width
    places, used = [(0, 0)] * len(lengths), list[int]()
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):  # first fit, longest first
        row = next((row for row, tokens in enumerate(used) if tokens + lengths[number] <= width), len(used))
        if row == len(used):
            used.append(0)
        places[number] = (row, used[row])
        used[row] += lengths[number]
    return places, width


def collate(examples: Sequence[Encoded], rows: Sequence[int], layout: str, pad_token: int) -> Batch:
    """Tensors of a batch of E examples with N label tokens in all, R rows of width W.

    `input_ids`, and `position_ids` (packed layouts) or `attention_mask` (padded): [R, W];
    `loss_positions` [N]: place in the flattened [R * W] hidden states from which each label token is predicted;
    `loss_targets` [N]: the label tokens; `loss_segments` [N]: which of the E examples each belongs to;
    `rows` [E]: the examples' numbers in the data;
    `packed` (packed layouts): whether a row has several examples, or an empty end.
    EOS is a label by its position, whatever the pad token is.
    Layout `row` has SPANS too: where its examples begin and end, and the longest one's tokens.
    """
    places, width = row_places([len(ids) for ids, _ in examples], layout)
    height = 1 + max(row for row, _ in places)
    inputs = np.full(height * width, pad_token, dtype=np.int64)
    filled = np.zeros(height * width, dtype=np.int64)
    position_ids = np.zeros(height * width, dtype=np.int64)
    positions, targets = [], []
    for (ids, turns), (row, offset) in zip(examples, places):
        start, ids, labels = row * width + offset, np.asarray(ids, dtype=np.int64), label_places(turns)
        span = slice(start, start + len(ids))
        inputs[span], filled[span], position_ids[span] = ids, 1, np.arange(len(ids))
        positions.append(start + labels - 1)
        targets.append(ids[labels])
    batch = {
        "input_ids": torch.from_numpy(inputs.reshape(height, width)),
        "loss_positions": torch.from_numpy(np.concatenate(positions)),
        "loss_targets": torch.from_numpy(np.concatenate(targets)),
        "loss_segments": torch.from_numpy(np.repeat(np.arange(len(places)), [len(place) for place in positions])),
        "rows": torch.tensor(list(rows), dtype=torch.int64),
    }
    if layout == "padded":
        return batch | {"attention_mask": torch.from_numpy(filled.reshape(height, width))}
    if layout == "row":  # else transformers finds them in the positions, and waits for the GPU in each layer
        ends = np.cumsum([0, *(len(ids) for ids, _ in examples)])
        spans, longest = torch.from_numpy(ends.astype(np.int32)), int(np.diff(ends).max())
        values: tuple[Any, ...] = (spans, spans, longest, longest)
        batch |= dict(zip(SPANS, values))
    # the empty end of a row: every position 0, so each of its tokens counts as an example of its own
    in_rows = position_ids.reshape(height, width)
    packed = bool((np.diff(in_rows, axis=1) != 1).any())
    return batch | {"position_ids": torch.from_numpy(in_rows), "packed": packed}


class MicroBatches(torch.utils.data.Dataset[Batch]):
    """The micro-batches of one rank for the whole training, by number; each carries the normaliser of its step."""

    def __init__(self, plan: TrainingPlan, row: Callable[[int], Encoded], rank: int, layout: str, pad_token: int):
        self.plan, self.row, self.rank, self.layout, self.pad_token = plan, row, rank, layout, pad_token

    def __len__(self) -> int:
        return self.plan.num_steps * self.plan.accumulation

    @property
    def longest(self) -> int:
        """Tokens of the longest example."""
        return int(self.plan.lengths.max())

    def split(self, batch: Batch, most: int) -> list[Batch]:
        """The examples of a batch in the fewest batches that take at most `most` of the budget (a longer one goes
        alone), each with the normaliser of its step."""
        rows = batch["rows"].numpy()
        parts = 1
        while parts < len(rows) and any(
            self.plan.taken(part) > most for part in self.plan.split(rows, parts) if len(part) > 1
        ):
            parts += 1
        if parts == 1:
            return [batch]
        kept = {key: batch[key] for key in ("norm", "epoch")}
        return [self._batch(part) | kept for part in self.plan.split(rows, parts) if len(part)]

    def _batch(self, rows: np.ndarray[Any, Any]) -> Batch:
        return collate([self.row(int(row)) for row in rows], rows.tolist(), self.layout, self.pad_token)

    def __getitem__(self, number: int) -> Batch:
        step = number // self.plan.accumulation
        rows = self.plan.micro_batch(self.rank, number)
        if len(rows):
            batch = self._batch(rows)
        else:  # every rank must take part in every step's collectives: two tokens, no labels
            batch = collate([([self.pad_token] * 2, [])], [-1], self.layout, self.pad_token)
        batch["norm"] = torch.tensor(float(self.plan.step_labels(step)))
        batch["epoch"] = torch.tensor(self.plan.epoch(step))
        return batch
