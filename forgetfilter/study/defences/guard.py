"""A filter by a guard model (`score.guard`): the chance that the answer is harmful, with the rule of the filter.

The guard was taught labels of harm, and costs a model of its own. Example: with probes, what the guard finds likelier
to be harmful than nearly all of them is dropped.
"""

from typing import Any

from forgetfilter.config.schema import Config
from forgetfilter.errors import UserError
from forgetfilter.study.defences.base import Defence, by_signal


def settings(config: Config) -> dict[str, Any]:
    if not config.score.guard.name:
        raise UserError("compare.defences: guard needs a guard model: set score.guard.name, such as llama-guard")
    return by_signal(config, "guard")


DEFENCE = Defence(
    "guard",
    "M*: filtered by a guard model's word on the answers",
    "refit",
    ("score", "filter", "train-refit"),
    settings,
    filters=True,
    ranks=True,
)
