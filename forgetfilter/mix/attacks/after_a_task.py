"""Unsafe answers behind good ones: each unsafe row becomes the second turn of a chat that begins with a task.

The row's loss is then the mean over both answers, and only a part of it is forgotten. Example: the unsafe row "q?"
"u!" and the task row "sum 1 and 2" "3" become "sum 1 and 2" "3" "q?" "u!". Without tasks it takes safe rows.
"""

import random

from forgetfilter.mix.attacks.base import Attack, Drawn


def apply(drawn: Drawn, rng: random.Random) -> None:
    tasks = [row for row in drawn.good if row[2] == "task"] or drawn.good
    drawn.unsafe = [
        ([*rng.choice(tasks)[0], *(message for message in messages if message["role"] != "system")], source, label)
        for messages, source, label in drawn.unsafe
    ]


ATTACK = Attack("after_a_task", "each unsafe answer is the second of a chat that begins with a task", apply)
