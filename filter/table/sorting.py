"""Rows in the order of 64-bit keys: parted by size, each part sorted by itself, so that it stays near the processor."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .ahead import PIECE, ahead, by_pieces

Keys = NDArray[np.uint64]
Rows = NDArray[np.uint32]
PART = 1_000_000  # keys sorted together, about: they and what is made of them stay near the processor
MOST_PARTS = 256  # their numbers are bytes
HIGHEST = np.uint64(np.iinfo(np.uint64).max)
PREFIX_BITS = 16
SAMPLED = 100_000  # keys by which the parts are made of about one size


def in_order(lists: Sequence[Keys]) -> Iterator[list[tuple[Rows, Keys]]]:
    """(rows, keys) of each list in the order of the keys, part after part, a part the same range of keys in all.

    Equal keys stay in the order of their rows and in one part. Fewer than 2^32 keys a list.
    """
    edges = _edges(lists[0])
    parted = [_parted(keys, edges) for keys in lists]

    def part(given: int) -> tuple[Rows, Keys]:
        number, which = divmod(given, len(lists))
        rows, starts = parted[which]
        rows = rows[starts[number] : starts[number + 1]]
        if _single(edges, number):  # perhaps nearly all rows: there is nothing to sort, and no room for their keys
            return rows, np.broadcast_to(edges[number - 1], len(rows))
        keys = lists[which].take(rows)
        place, keys = _sorted(keys)
        return rows.take(place), keys

    parts = ahead(part, range((len(edges) + 1) * len(lists)))
    while found := list(islice(parts, len(lists))):
        yield found


def taken(values: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """values[rows] in pieces: NumPy makes indices of eight bytes of rows, which may be all there are."""
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


def ascending(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """np.argsort, NaN last, of a piece that stays near the processor: in a third of its time."""
    return _sorted(descending(-values))[0]


def _edges(keys: Keys) -> Keys:
    """The lowest keys of all parts but the first."""
    number = min(MOST_PARTS, len(keys) // PART + 1)
    sample = np.sort(keys[:: max(1, len(keys) // SAMPLED)])
    edges: Keys = sample[np.linspace(0, len(sample), number, endpoint=False).astype(int)[1:]]
    full = np.flatnonzero((edges[1:] == edges[:-1]) & (edges[1:] < HIGHEST)) + 1
    edges[full] += np.uint64(1)  # a key that would fill several parts has one of its own
    return edges


def _single(edges: Keys, number: int) -> bool:
    """Whether a part has no other key than the edge below it."""
    if number == 0:
        return False
    return bool(edges[-1] == HIGHEST if number == len(edges) else edges[number] - edges[number - 1] <= 1)


def _parted(keys: Keys, edges: Keys) -> tuple[Rows, NDArray[np.int64]]:
    """(all rows, part after part and in each ascending; the place where each part begins, and the end)."""
    lowest = np.arange(1 << PREFIX_BITS, dtype=np.uint64) << np.uint64(64 - PREFIX_BITS)
    ends = (lowest, lowest + (np.uint64(1 << (64 - PREFIX_BITS)) - np.uint64(1)))
    first, last = (np.searchsorted(edges, end, side="right").astype(np.uint8) for end in ends)
    pieces = range(0, len(keys), PIECE)
    numbers, counts = np.empty(len(keys), dtype=np.uint8), np.zeros((len(pieces), len(edges) + 1), dtype=np.int64)

    def count(piece: slice) -> None:
        numbers[piece] = _part_numbers(keys[piece], edges, first, last)
        counts[piece.start // PIECE] = np.bincount(numbers[piece], minlength=len(edges) + 1)

    by_pieces(count, len(keys))
    starts = np.concatenate([[0], counts.sum(0).cumsum()])
    places = starts[:-1] + counts.cumsum(0) - counts  # where each piece's rows of each part begin
    rows = np.empty(len(keys), dtype=np.uint32)

    def deal(piece: slice) -> None:
        own = piece.start // PIECE
        found = np.argsort(numbers[piece], kind="stable").astype(np.uint32) + np.uint32(piece.start)
        ends = counts[own].cumsum()
        for part, number in enumerate(counts[own]):
            rows[places[own, part] : places[own, part] + number] = found[ends[part] - number : ends[part]]

    by_pieces(deal, len(keys))
    return rows, starts


def _part_numbers(keys: Keys, edges: Keys, first: NDArray[np.uint8], last: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """np.searchsorted from the right; for most keys their high bits say it: the first and the last part with these."""
    prefixes = (keys >> np.uint64(64 - PREFIX_BITS)).astype(np.uint16)
    numbers = first.take(prefixes)
    several = np.flatnonzero((first != last).take(prefixes))
    numbers[several] = np.searchsorted(edges, keys.take(several), side="right")
    return numbers


def _sorted(keys: Keys) -> tuple[NDArray[np.int64], Keys]:
    """(places, keys) in the order of the keys; by one plain sort of their high bits with the places in the low ones."""
    if not len(keys):
        return np.empty(0, dtype=np.int64), keys
    low = keys.min()
    free = 64 - int(keys.max() - low).bit_length()
    places = np.uint64((1 << len(keys).bit_length()) - 1)
    packed = ((keys - low) << np.uint64(min(free, 63))) & ~places | np.arange(len(keys), dtype=np.uint64)
    packed = pl.Series(packed).sort(multithreaded=False).to_numpy()  # in a quarter of np.sort's time
    place = (packed & places).astype(np.int64)
    ordered = keys.take(place)
    if (ordered[1:] < ordered[:-1]).any():  # some keys differ in the low bits alone
        alike = repeated(packed & ~places)
        own = np.argsort(ordered[alike], kind="stable")
        place[alike], ordered[alike] = place[alike][own], ordered[alike][own]
    return place, ordered
