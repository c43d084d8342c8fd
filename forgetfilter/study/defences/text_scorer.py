"""A filter by texts alone: the chance of profanity in the answer (alt-profanity-check), with the rule of the filter.

It costs no safe finetuning and no scoring, and is blind to bias and to polite harm. Example: with probes, what scores
above nearly all of them is dropped.
"""

from typing import Any

from forgetfilter.config.schema import Config
from forgetfilter.study.defences.base import Defence


def settings(config: Config) -> dict[str, Any]:
    """Another signal, and the rule as it is, but for phi: that is in the unit of one signal."""
    own = {"filter.signal": "text_toxicity", "filter.combine": []}
    return own | ({"filter.rule": "auto", "filter.phi": 0.0} if config.filter.rule == "phi" else {})


DEFENCE = Defence(
    "text_scorer",
    "M*: filtered by a profanity scorer of the answers",
    "refit",
    ("filter", "train-refit"),
    settings,
    filters=True,
    ranks=True,
)
