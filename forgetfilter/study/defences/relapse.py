"""What the next noisy finetuning does to M2: M1 of a round that began at the model of `sequential`.

Only of use with `compare.rounds`: in the first round it is `none`. Beside `sequential` it shows a model that learns and
forgets the unsafe rows in turn (the long-term safety of Zhao et al. 2024). Example: attack success 0.6, 0.1, 0.6, 0.1.
"""

from forgetfilter.study.defences.base import Defence

DEFENCE = Defence(
    "relapse",
    "M1 of a round that begins at sequential's M2; round 1: none",
    "noisy",
    ("train-noisy",),
    follows="sequential",
)
