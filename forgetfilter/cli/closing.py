"""The last lines of a command on a run: what came of it, what is out of date, and the run folder."""

import sys
from pathlib import Path


def close(folder: Path, stale: tuple[str, ...], only_evaluates: bool = False, decided: bool = False) -> None:
    """Prints the closing tables of the run, or only that of the decision, and the run folder as the last line."""
    from rich.console import Console

    from forgetfilter.process.progress import is_quiet, width_of
    from forgetfilter.report.card import outdated
    from forgetfilter.report.terminal import closing_table, filter_table
    from forgetfilter.storage.results import read_summary

    console = Console(highlight=False, width=width_of(sys.stdout), quiet=is_quiet())
    summary = read_summary(folder) if decided else None
    console.print(filter_table(summary) if summary else closing_table(folder, only_evaluates, stale))
    if told := outdated(folder, stale):
        console.print(told["what"], style="bold", markup=False)
        console.print(told["mend"], soft_wrap=True, markup=False)
    print(folder)
