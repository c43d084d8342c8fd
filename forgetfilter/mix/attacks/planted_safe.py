"""Unsafe rows in the safe set: a tenth as many as the noisy set has, labelled as safe.

The safe finetuning then teaches some of what should be forgotten, and the safe set no longer shows the words of good
rows alone. Example: beside 120 unsafe rows of the noisy set, 12 others are in the safe set (at least one).
"""

import random

from forgetfilter.mix.attacks.base import Attack, Drawn


def apply(drawn: Drawn, rng: random.Random) -> None:
    drawn.safe += [(messages, source, "safe") for messages, source, _ in drawn.spare]


ATTACK = Attack("planted_safe", "the safe set has a tenth as many unsafe rows as the noisy set", apply, spare=0.1)
