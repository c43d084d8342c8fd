"""Unsafe rows that look good: of three times as many, those that share the most words with the good rows.

A row's likeness is the mean, over its different words, of the share of good rows that have the word, so that long rows
gain nothing. Example: where every good row says "the" and none says "fool", "the fool" has 0.5 and "the the" has 1.
"""

import random
import re
from collections import Counter

from forgetfilter.mix.attacks.base import Attack, Drawn, Row


def words(row: Row) -> set[str]:
    """The words of all messages of a row, in lower case."""
    return {word for message in row[0] for word in re.findall(r"\w+", str(message["content"]).lower())}


def likeness(row: Row, known: Counter[str], rows: int) -> float:
    """Mean share of `rows` good rows that have a word of the row; 0 for a row without words."""
    own = words(row)
    return sum(known[word] for word in own) / (len(own) * rows) if own and rows else 0.0


def apply(drawn: Drawn, rng: random.Random) -> None:
    known = Counter(word for row in drawn.good for word in words(row))
    every = [*drawn.unsafe, *drawn.spare]
    every.sort(key=lambda row: likeness(row, known, len(drawn.good)), reverse=True)
    drawn.unsafe = every[: len(drawn.unsafe)]


ATTACK = Attack(
    "lookalike", "of three times as many unsafe rows, those that look most like good ones", apply, spare=2.0
)
