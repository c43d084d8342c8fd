"""A rival that asks another model: the probability that the answer is harmful, by a guard, 0 to 1.

A model trained on labelled harm (Llama Guard, WildGuard, HarmBench's classifier, BeaverDam, or any text classifier:
forgetfilter/models/guard_models.py), given the user's last turn and the answer. It knows nothing of the
training. Needs a scoring with score.guard.name, such as llama-guard.

Example: a guard begins "unsafe" with probability 0.6 and "safe" with 0.2: score 0.75. No ruling: no score, and kept.
"""

import polars as pl

from .base import Signal, Stored, where_tokens

STORED = Stored(
    ("guard",), "score.guard.name", "a guard's word, which was not asked: score with score.guard.name=NAME", "guard"
)

SIGNAL = Signal(
    name="guard",
    needs=("num_tokens", "guard"),
    expression=where_tokens(pl.col("guard")),
    unit="probability",
    doc="rival by another model: chance of harm in the answer by a guard",
    stored=(STORED,),
)
