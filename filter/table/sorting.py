"""Orders rows by 64-bit keys. Polars sorts a range of keys at a time, so that only one range is in memory.

One sort of all rows by Polars would be simpler, and it is about as fast; but it takes some 30 bytes a row besides the
keys, which is more than the 4 GB that the filter may use at 10^8 rows (docs/findings/2026-11-28.md).
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .threads import PIECE, ahead, by_pieces

Keys = NDArray[np.uint64]
Rows = NDArray[np.uint32]
PART = 4_000_000  # rows sorted together, about
HIGHEST = np.uint64(np.iinfo(np.uint64).max)
SAMPLED = 100_000  # keys from which the ranges are taken, so that each holds about as many rows


def in_order(lists: Sequence[Keys]) -> Iterator[list[tuple[Rows, Keys]]]:
    """(rows, keys) of each list in the order of the keys, a range of keys at a time, the same range in all lists.

    Equal keys stay in the order of their rows and in one range. Fewer than 2^32 keys a list.
    """
    wanted = [(keys, low, high) for low, high in _ranges(lists[0]) for keys in lists]
    parts = ahead(lambda given: _part(*given), wanted)
    while found := list(islice(parts, len(lists))):
        yield found


def taken(values: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """values[rows], taken in pieces, since NumPy would turn all of `rows` into indices of eight bytes at once."""
    found = np.empty(len(rows), dtype=values.dtype)

    def one(piece: slice) -> None:
        found[piece] = values.take(rows[piece])

    by_pieces(one, len(rows))
    return found


def repeated(ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """[n] whether a key is there more than once, in ordered keys."""
    same = np.zeros(len(ordered) + 1, dtype=np.bool_)
    same[1:-1] = ordered[1:] == ordered[:-1]
    return same[:-1] | same[1:]


def descending(values: NDArray[np.float64]) -> Keys:
    """Keys that are ordered as the values are, highest first, NaN last; equal where the values are."""
    keys = np.empty(len(values), dtype=np.uint64)

    def one(piece: slice) -> None:
        bits = (values[piece] + 0.0).view(np.uint64)  # -0.0 becomes 0.0
        keys[piece] = np.where(bits >> np.uint64(63), bits, ~bits & np.uint64(2**63 - 1))
        keys[piece][np.isnan(values[piece])] = HIGHEST

    by_pieces(one, len(values))
    return keys


def _ranges(keys: Keys) -> list[tuple[np.uint64, np.uint64]]:
    """(lowest, highest key) of ranges that cover all keys; a key of more rows than PART has a range of its own."""
    number = len(keys) // PART + 1
    sample = np.sort(keys[:: max(1, len(keys) // SAMPLED)])
    lows: Keys = sample[np.linspace(0, len(sample), number, endpoint=False).astype(int)[1:]]
    full = np.flatnonzero((lows[1:] == lows[:-1]) & (lows[1:] < HIGHEST)) + 1
    lows[full] += np.uint64(1)
    lows = lows[lows > 0]
    return list(zip([np.uint64(0), *lows], [*(lows - np.uint64(1)), HIGHEST]))


def _part(keys: Keys, low: np.uint64, high: np.uint64) -> tuple[Rows, Keys]:
    """(rows, keys) from the lowest to the highest key of a range, in their order."""
    found = [np.empty(0, dtype=np.uint32)]
    for start in range(0, len(keys), PIECE):
        piece = keys[start : start + PIECE]
        found.append(np.flatnonzero((piece >= low) & (piece <= high)).astype(np.uint32) + np.uint32(start))
    rows = np.concatenate(found)
    if low == high:  # these may be nearly all rows, and there is nothing to sort and no room for their keys
        return rows, np.broadcast_to(low, len(rows))
    ordered = pl.DataFrame({"key": keys.take(rows), "row": rows}).sort("key", maintain_order=True, multithreaded=False)
    return ordered["row"].to_numpy(), ordered["key"].to_numpy()
