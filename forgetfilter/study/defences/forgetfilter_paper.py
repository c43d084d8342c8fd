"""ForgetFilter as in the paper (Zhao et al. 2024): a row is dropped if the ROUGE-1 of the greedy answer falls enough.

The score is the ROUGE-1 of M1's greedy answer with the row's answer, minus that of M2's greedy answer. A row is dropped
if its score exceeds `filter.phi`. The paper does not give phi; 0 drops every row whose answer became any worse. Two
answers must be generated for each row. Example: the ROUGE-1 is 0.9 before and 0.2 after, so the score is 0.7, and the
row is dropped at phi = 0.1.
"""

from typing import Any

from forgetfilter.config.schema import Config
from forgetfilter.study.defences.base import TRAININGS, Defence


def settings(config: Config) -> dict[str, Any]:
    own = {"filter.signal": "rouge1_drop", "filter.combine": [], "filter.rule": "phi"}
    return own | {"score.rouge": True, "train.refit.data": "kept"}


DEFENCE = Defence(
    "forgetfilter_paper",
    "M* with the paper's filter: the ROUGE-1 falls by more than filter.phi",
    "refit",
    (*TRAININGS, "score", "filter"),
    settings,
    filters=True,
    ranks=True,
)
