"""The report stage, which writes report.html and card.json."""

from collections.abc import Callable
from pathlib import Path

from forgetfilter.config.load import to_written
from forgetfilter.report.task import Reported
from forgetfilter.storage import artifacts
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Stage

READS = ("filter", "eval")


class Reporting(Reported):
    """The report as the pipeline makes it."""

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


def settings(run: Run, stale: tuple[str, ...] = ()) -> Reporting:
    return Reporting(RunPaths(run.folder), to_written(run.config), stale, run.tracker_of("report"))


def report_stage(stale: Callable[[Run], tuple[str, ...]]) -> Stage:
    """The stage. `stale` tells what of a run is out of date, which only the pipeline knows."""
    files = ("report.html", "card.json")
    return Stage("report", lambda run: settings(run, stale(run)), files=files, made=files, reads=READS)
