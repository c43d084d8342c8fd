"""Suites, one a file: prompts, how they are scored, and the metrics."""

from forgetfilter.errors import UserError, nearest

from . import bias, harmfulness, task, toxicity
from .base import Outputs, Settings, Suite

__all__ = ["SUITES", "Outputs", "Settings", "Suite", "get"]

SUITES: dict[str, Suite] = {module.SUITE.name: module.SUITE for module in (toxicity, bias, harmfulness, task)}


def get(name: str) -> Suite:
    """The suite of that name; UserError with the nearest one where there is none."""
    if name not in SUITES:
        raise UserError(f"eval.suites cannot hold {name!r}{nearest(name, list(SUITES))}")
    return SUITES[name]
