"""One thing that a machine may have, as `forgetfilter doctor` tells it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    name: str
    found: bool
    detail: str
    needed_for: str
    todo: str
    """What to do where it is missing."""
    group: str = ""
    """must, should or optional."""
