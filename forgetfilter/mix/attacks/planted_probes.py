"""Unsafe rows among the probes: a tenth of the probes are unsafe ones, in the place of good ones.

Probes say how much good rows are forgotten, so the cut moves up and drops less. Example: of 100 probes 10 are unsafe,
as far as so many further unsafe rows (a fifth as many as the noisy set has) were drawn.
"""

import random

from forgetfilter.mix.attacks.base import Attack, Drawn

SHARE = 0.1


def apply(drawn: Drawn, rng: random.Random) -> None:
    planted = [(messages, source, None) for messages, source, _ in drawn.spare[: round(SHARE * len(drawn.probes))]]
    rng.shuffle(drawn.probes)
    drawn.probes[: len(planted)] = planted


ATTACK = Attack("planted_probes", "a tenth of the probes are unsafe rows", apply, spare=0.2)
