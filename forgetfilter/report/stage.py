"""The report stage, which writes report.html and card.json."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgetfilter.config.load import to_written
from forgetfilter.process.tracking import Tracker
from forgetfilter.storage import artifacts
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Stage, Task


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
        state = self.paths.state()
        return "eval" not in state or state.get("filter", {}).get("status") == "done"

    def inputs(self) -> object:
        self.paths.require("filter" if self.decided else "eval")
        told = {name: entry for name, entry in self.paths.state().items() if name != "report"}
        known = {name: {key: value for key, value in entry.items() if key != "foreign"} for name, entry in told.items()}
        return known | ({"stale": list(self.stale)} if self.stale else {})

    def work(self) -> None:
        self.write()
        with self.track() as tracker:
            made = artifacts.report(self.paths)
            tracker.lineage([artifacts.decision(self.paths), artifacts.evaluation(self.paths)], [made])

    def write(self, reveal: bool = False) -> Path:
        """Writes report.html and card.json; returns the page's path. With `reveal` dropped texts are not masked."""
        from forgetfilter.report.evaluation_page import write_evaluation
        from forgetfilter.report.page import write_report

        return write_report(self, reveal) if self.decided else write_evaluation(self)


def settings(run: Run, stale: tuple[str, ...] = ()) -> Reported:
    return Reported(RunPaths(run.folder), to_written(run.config), stale, run.tracker_of("report"))


def report_stage(stale: Callable[[Run], tuple[str, ...]]) -> Stage:
    """The stage. `stale` tells what of a run is out of date, which only the pipeline knows."""
    files = ("report.html", "card.json")
    return Stage("report", lambda run: settings(run, stale(run)), files=files, made=files)
