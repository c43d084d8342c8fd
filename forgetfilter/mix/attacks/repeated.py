"""The same unsafe rows again and again: a fifth of them stand five times, each time with another first word.

What is learned five times is learned better, and may be forgotten less. The number of unsafe rows stays. Example: of
the unsafe rows A, B, C, D, E and F the rows A, B become "A", "Well, A", "So, A", "Yes, A", "Now, A" and "B".
"""

import random

from forgetfilter.data.records import Message
from forgetfilter.mix.attacks.base import Attack, Drawn, Row

BEGINNINGS = ("", "Well, ", "So, ", "Yes, ", "Now, ")


def _again(row: Row, beginning: str) -> Row:
    messages, source, label = row
    last: Message = {**messages[-1], "content": beginning + messages[-1]["content"]}
    return [*messages[:-1], last], source, label


def apply(drawn: Drawn, rng: random.Random) -> None:
    copies = [_again(row, beginning) for row in drawn.unsafe for beginning in BEGINNINGS]
    drawn.unsafe = copies[: len(drawn.unsafe)]


ATTACK = Attack("repeated", "a fifth of the unsafe rows stand five times, with other first words", apply)
