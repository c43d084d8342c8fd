"""The suites, one in each file: their prompts, how answers are scored, and the metrics."""

from forgetfilter.config import registry

from . import harness_task
from .base import Outputs, Settings, Suite, frame

__all__ = ["TASK_PREFIX", "Outputs", "Settings", "Suite", "every", "frame", "get"]

TASK_PREFIX = harness_task.PREFIX


def every() -> list[Suite]:
    """All suites in the order of their names, with those of other packages. UserError for a package that is broken."""
    return registry.SUITES.every(Suite)


def get(name: str) -> Suite:
    """The suite of that name; UserError with the nearest name where there is none."""
    if name.startswith(harness_task.PREFIX):
        return harness_task.suite(name)
    return registry.SUITES.find(Suite, name, "eval.suites")
