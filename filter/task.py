"""The decision on a run as a value, which stage.py makes of the run and the files that decide take."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from forgetfilter.config.schema import FilterConfig
from forgetfilter.process.tracking import Tracker
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Task


@dataclass(frozen=True)
class FilterTask(Task):
    """A decision, with all that it needs to know of its run."""

    paths: RunPaths
    options: FilterConfig
    """The section `filter`, with what its `auto` stands for in this run."""
    rule_is_auto: bool
    """Whether nobody named the rule."""
    nodes: int
    """Machines that read the texts, where a signal needs that."""
    track: Callable[[], AbstractContextManager[Tracker]]
    """Opens the tracker of the stage."""
