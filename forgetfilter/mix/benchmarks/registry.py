"""Builders by the name that a config gives them."""

from forgetfilter.errors import check_choice
from forgetfilter.mix.benchmarks import (
    alpaca,
    bbq,
    flagged,
    harmfulqa,
    instruction,
    preference,
    refusals,
    squad,
    toxicity,
)
from forgetfilter.mix.benchmarks.candidates import Builder

BUILDERS: dict[str, Builder] = {
    "bbq": bbq.build,
    "toxicity": toxicity.build,
    "harmfulqa": harmfulqa.build,
    "flagged": flagged.build,
    "refusals": refusals.build,
    "preference": preference.build,
    "squad": squad.build,
    "alpaca": alpaca.build,
    "instruction": instruction.build,
}


def find_builder(name: str, key: str) -> Builder:
    """The builder of a name; `key` is the config key that gave it."""
    check_choice(key, name, list(BUILDERS))
    return BUILDERS[name]
