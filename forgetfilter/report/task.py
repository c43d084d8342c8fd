"""A report as a value, which stage.py makes of a run and the pages take."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from forgetfilter.process.tracking import Tracker
from forgetfilter.storage.results import is_decided
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Task


@dataclass(frozen=True)
class Reported(Task):
    """What a report is made from: the run's files, its settings, and what of the run is out of date."""

    paths: RunPaths
    config: dict[str, Any]
    """The configuration as a JSON value. A value from the environment stands in it as its reference."""
    stale: tuple[str, ...]
    """Which of refit and evaluation belong to an earlier decision. The report leaves them out and says so."""
    track: Callable[[], AbstractContextManager[Tracker]]
    """Opens the tracker of the stage."""

    @property
    def decided(self) -> bool:
        """Whether there is a decision to report, or an evaluation alone."""
        return "eval" not in self.paths.state() or is_decided(self.paths.folder)
