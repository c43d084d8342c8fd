"""A filter by texts alone: the chance of profanity in the answer (alt-profanity-check), with the rule of the filter.

It costs no safe finetuning and no scoring, and is blind to bias and to polite harm. Example: with probes, what scores
above nearly all of them is dropped.
"""

from typing import Any

from forgetfilter.config.schema import Config
from forgetfilter.study.defences.base import Defence, by_signal


def settings(config: Config) -> dict[str, Any]:
    return by_signal(config, "text_toxicity")


DEFENCE = Defence(
    "text_scorer",
    "M*: filtered by a profanity scorer of the answers",
    "refit",
    ("filter", "train-refit"),
    settings,
    filters=True,
    ranks=True,
)
