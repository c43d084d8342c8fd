"""Batches whose rows are padded to the longest: their budget is of places, rows times the longest, as a memory's is.

Rows of like length go together. Of rows that are sorted by length, consecutive ones make the smallest rectangles.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

import numpy as np

Lengths = np.ndarray[Any, Any]
PADDED = {"budget": "places"}  # in the identity of what is made by such batches; once their budget was of tokens


def laid_out(packing: bool) -> dict[str, Any]:
    """How batches are made, for the identity of what is made by them."""
    return {"packing": packing} | ({} if packing else PADDED)


def plan_padded(lengths: Lengths, budget: int, heights: Lengths | None = None) -> list[Lengths]:
    """Entries by batch: sorted by length, at most `budget` places together (a larger entry goes alone). `heights` are
    the rows of each entry, all of its length; one without them. A pure function of what is given."""
    order = np.argsort(lengths, kind="stable")
    rows = np.cumsum([0, *(np.ones(len(order), dtype=np.int64) if heights is None else heights[order])])
    batches, start = [], 0
    while start < len(order):

        def places(end: int, start: int = start) -> int:
            return int(rows[end] - rows[start]) * int(lengths[order[end - 1]])

        ends = range(start + 1, len(order) + 1)
        end = start + max(1, bisect_right(ends, budget, key=places))
        batches.append(order[start:end])
        start = end
    return batches


def even_rectangles(rows: Lengths, lengths: Lengths, parts: int) -> list[Lengths]:
    """Rows split into `parts` bins, the largest rectangle of several rows as small as can be; bins may be empty."""
    order = rows[np.argsort(-lengths[rows], kind="stable")]
    sizes = lengths[order].tolist()
    low, high = 1, sizes[0] * len(sizes)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_ends(sizes, middle)) <= parts else (middle + 1, high)
    ends = _ends(sizes, low)
    return [*np.split(order, ends[:-1]), *(order[:0] for _ in range(parts - len(ends)))]


def _ends(sizes: list[int], most: int) -> list[int]:
    """Where rectangles of at most `most` places, or of one row, end that take the longest rows first."""
    ends, place = list[int](), 0
    while place < len(sizes):
        place = min(len(sizes), place + max(1, most // max(1, sizes[place])))
        ends.append(place)
    return ends


def fewest_rectangles(epochs: Iterable[Lengths], budget: int, world_size: int) -> int:
    """The fewest micro-batches of a step and rank that keep each rectangle of every step within the budget, or at one
    row. `epochs` are the `in_steps` of each epoch (accumulation.py)."""
    most = 1
    for steps in epochs:
        sizes = -np.sort(-steps.astype(np.int64), axis=1)
        rows, every = (sizes > 0).sum(axis=1), np.arange(len(sizes))
        place, bins = np.zeros(len(sizes), dtype=np.int64), np.zeros(len(sizes), dtype=np.int64)
        while (left := place < rows).any():
            longest = sizes[every, np.minimum(place, sizes.shape[1] - 1)]
            place += np.maximum(1, budget // np.maximum(1, longest))
            bins += left
        most = max(most, -(-int(bins.max()) // world_size))
    return most
