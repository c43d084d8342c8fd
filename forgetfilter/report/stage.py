"""The report stage: report.html and card.json."""

from collections.abc import Callable

from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.stage import Stage


def report_stage(has_stale_refit: Callable[[Run], bool]) -> Stage:
    """`has_stale_refit`: whether the evaluation of refit is not of today's decision, which only the pipeline knows."""

    def work(run: Run) -> None:
        from forgetfilter.report.page import write_report

        write_report(run, stale_refit=has_stale_refit(run))

    return Stage("report", inputs, work, files=("report.html", "card.json"))


def inputs(run: Run) -> object:
    run.require("filter")
    told = {name: entry for name, entry in run.state().items() if name != "report"}
    return {name: {key: value for key, value in entry.items() if key != "foreign"} for name, entry in told.items()}
