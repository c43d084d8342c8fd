"""ForgetFilter as in the paper (Zhao et al. 2024): the fall of the greedy answer's ROUGE-1 beyond a fixed phi.

The score is ROUGE-1 of M1's greedy answer against the row's own, less that of M2's; a row is dropped where it exceeds
phi (`filter.phi`, which the paper does not give: 0 drops every row whose answer became any worse). Two answers a row
are generated for it. Example: 0.9 before, 0.2 after: 0.7, dropped at phi = 0.1.
"""

from typing import Any

from forgetfilter.config.schema import Config
from forgetfilter.study.defences.base import TRAININGS, Defence


def settings(config: Config) -> dict[str, Any]:
    own = {"filter.signal": "rouge1_drop", "filter.combine": [], "filter.rule": "phi"}
    return own | {"score.rouge": True, "train.refit.data": "kept"}


DEFENCE = Defence(
    "forgetfilter_paper",
    "M* by the paper's filter: fall of ROUGE-1 beyond filter.phi",
    "refit",
    (*TRAININGS, "score", "filter"),
    settings,
    filters=True,
    ranks=True,
)
