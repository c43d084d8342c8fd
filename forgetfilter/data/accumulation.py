"""Into how many micro-batches the optimizer steps are split, found for all steps of a training at once."""

from collections.abc import Iterable
from typing import Any

import numpy as np

Lengths = np.ndarray[Any, Any]
BLOCK = 1 << 15  # steps that are tried together, so that the first that does not fit ends the try


def in_steps(lengths: Lengths, batch_size: int) -> Lengths:
    """The tokens of rows in their order, by optimizer step: [steps, batch_size], the last one filled up with 0."""
    steps = -(-len(lengths) // batch_size)
    filled = np.zeros(steps * batch_size, dtype=np.int32)
    filled[: len(lengths)] = lengths
    return filled.reshape(steps, batch_size)


def fewest_micro_batches(epochs: Iterable[Lengths], micro_batch_tokens: int, world_size: int) -> int:
    """The fewest micro-batches of a step and rank that keep each one of every step within the budget.

    `epochs` are the `in_steps` of each epoch. A row that is longer than the budget goes alone, which a step
    allows in any case with as many micro-batches as it has rows. Of the steps only those stay in memory that may not
    fit.
    """
    fewest, most, doubtful = 1, 1, list[Lengths]()
    for steps in epochs:
        fewest = max(fewest, -(-int(steps.sum(axis=1).max()) // (micro_batch_tokens * world_size)))
        most = steps.shape[1]
        doubtful.append(_doubtful(steps, micro_batch_tokens, fewest * world_size))
    left = np.concatenate(doubtful)
    left = left[np.argsort(-left.sum(axis=1), kind="stable")]  # what will not fit is found early
    while fewest < most and not _fit(left, micro_batch_tokens, fewest * world_size):
        fewest += 1
    return fewest


def _doubtful(steps: Lengths, budget: int, parts: int) -> Lengths:
    """The steps that may not fit into `parts` bins by split_evenly.

    The emptiest bin holds at most the mean of what was placed before. So one that got a second row of p tokens holds at
    most (total - p) / parts + p, and all steps fit whose total + (parts - 1) * longest is at most parts * budget
    (Graham, Bounds on Multiprocessing Timing Anomalies, 1969).
    """
    most = steps.sum(axis=1) + (parts - 1) * steps.max(axis=1).astype(np.int64)
    left: Lengths = steps[most > parts * budget]
    return left


def _fit(steps: Lengths, budget: int, parts: int) -> bool:
    """Whether split_evenly keeps each of `parts` bins of every step within the budget, or at a single row."""
    left = _doubtful(steps, budget, parts)
    return all(_block_fits(left[start : start + BLOCK], budget, parts) for start in range(0, len(left), BLOCK))


def _block_fits(steps: Lengths, budget: int, parts: int) -> bool:
    used, every = np.zeros((len(steps), parts), dtype=np.int64), np.arange(len(steps))
    for length in -np.sort(-steps, axis=1).T:  # the longest row of each step, then the next, to its emptiest bin
        bins = used.argmin(axis=1)
        before = used[every, bins]
        if ((length > 0) & (before > 0) & (before + length > budget)).any():
            return False
        used[every, bins] = before + length
    return True
