"""The report stage: report.html and card.json."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from forgetfilter.config.load import to_written
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Stage, Task


@dataclass(frozen=True)
class Reported(Task):
    """What a report tells of: a run's files, its settings, and the one fact that they do not say."""

    paths: RunPaths
    config: dict[str, Any]
    """The configuration as a JSON value, with references in the place of what the environment holds."""
    stale_refit: bool = False
    """Whether the evaluation of refit is not of today's decision; it is then left out."""

    def inputs(self) -> object:
        self.paths.require("filter")
        told = {name: entry for name, entry in self.paths.state().items() if name != "report"}
        return {name: {key: value for key, value in entry.items() if key != "foreign"} for name, entry in told.items()}

    def work(self) -> None:
        from forgetfilter.report.page import write_report

        write_report(self)


def settings(run: Run, stale_refit: bool = False) -> Reported:
    return Reported(RunPaths(run.folder), to_written(run.config), stale_refit)


def report_stage(has_stale_refit: Callable[[Run], bool]) -> Stage:
    """The stage; `has_stale_refit` says what only the pipeline knows."""
    return Stage("report", lambda run: settings(run, has_stale_refit(run)), files=("report.html", "card.json"))
