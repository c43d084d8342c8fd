"""What the next noisy finetuning does to M2: this is M1 of a round that starts from the model of `sequential`.

It is of use only with `compare.rounds`; in the first round it equals `none`. With `sequential` it shows how a model
learns and forgets the unsafe rows in turn (the long-term safety of Zhao et al. 2024). Example: the attack success is
0.6, 0.1, 0.6 and 0.1.
"""

from forgetfilter.study.defences.base import Defence

DEFENCE = Defence(
    "relapse",
    "M1 of a round that starts from sequential's M2; in round 1 it is none",
    "noisy",
    ("train-noisy",),
    follows="sequential",
)
