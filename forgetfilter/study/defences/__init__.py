"""The defences that `forgetfilter compare` compares, one in each file."""

from forgetfilter.config import registry
from forgetfilter.study.defences.base import TRAININGS, Defence, unchanged

__all__ = ["TRAININGS", "Defence", "get", "unchanged"]


def get(name: str, key: str = "compare.defences") -> Defence:
    """The defence of that name; UserError with the nearest name where there is none."""
    return registry.DEFENCES.find(Defence, name, key)
