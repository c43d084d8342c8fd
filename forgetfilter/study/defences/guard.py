"""A filter by a guard model (`score.guard`): the probability that the answer is harmful, with the filter's rule.

The guard was trained on labels of harm and costs a further model. Example: with probes, a row is dropped if the guard
finds it more probably harmful than nearly all of the probes.
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
    "M*: filtered by a guard model's verdict on the answers",
    "refit",
    ("score", "filter", "train-refit"),
    settings,
    filters=True,
    ranks=True,
)
