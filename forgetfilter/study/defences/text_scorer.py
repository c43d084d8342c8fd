"""A filter by the texts alone: the probability of profanity in the answer (alt-profanity-check), with the filter's
rule.

It needs no safe finetuning and no scoring, but it cannot see bias or polite harm. Example: with probes, a row is
dropped if its score exceeds those of nearly all of the probes.
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
