"""The guard models, each in a file of its own: how each is asked whether an answer is harmful, and how it is read."""

from forgetfilter.config import registry
from forgetfilter.models.guards.base import ClassifyingKind, GuardKind, WritingKind

__all__ = ["ClassifyingKind", "GuardKind", "WritingKind", "every", "get"]


def every() -> list[GuardKind]:
    """All guards in the order of their names."""
    return registry.GUARDS.every(GuardKind)


def get(name: str, key: str) -> GuardKind:
    """The guard of that name. Raises UserError with the key and the nearest name where there is none."""
    return registry.GUARDS.find(GuardKind, name, key)
