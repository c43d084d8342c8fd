"""Attacks on the filter, one in each file, for experiments on benchmarks (`mixture.attack`)."""

from forgetfilter.config import registry
from forgetfilter.mix.attacks.base import Attack, Drawn, Row

__all__ = ["Attack", "Drawn", "Row", "get"]


def get(name: str) -> Attack:
    """The attack of that name; UserError with the nearest name where there is none."""
    return registry.ATTACKS.find(Attack, name, "mixture.attack")
