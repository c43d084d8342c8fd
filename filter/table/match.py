"""Finds, for each key of one list, the row of another list that has it, by sorting both a range of keys at a time."""

from dataclasses import dataclass

import numpy as np

from .sorting import Keys, Rows, in_order, repeated


@dataclass(frozen=True, eq=False)
class Match:
    """The rows that two lists of keys share, and those in which they differ."""

    order: Rows
    """[n] the row of `found` that has each expected key; it has no meaning unless the four below are empty."""
    missing: Rows
    """Rows of `expected` that are not found."""
    foreign: Rows
    """Rows of `found` that are not expected."""
    repeated: Rows
    """Rows of `found` whose key is there more than once."""
    ambiguous: Rows
    """Rows of `expected` whose key is there more than once."""


def match(expected: Keys, found: Keys) -> Match:
    """Compares two lists of keys, fewer than 2^32 each."""
    order = np.zeros(len(expected), dtype=np.uint32)
    missing, foreign, twice, ambiguous = [], [], [], []
    for (wanted, e), (there, f) in in_order([expected, found]):
        if np.array_equal(e, f):
            order[wanted] = there
        else:
            missing.append(wanted[~np.isin(e, f)])
            foreign.append(there[~np.isin(f, e)])
        twice.append(there[repeated(f)])
        ambiguous.append(wanted[repeated(e)])
    return Match(order, *(_joined(rows) for rows in (missing, foreign, twice, ambiguous)))


def _joined(parts: list[Rows]) -> Rows:
    return np.concatenate([np.empty(0, dtype=np.uint32), *parts])
