"""What `forgetfilter filter RUN` answers beside deciding: --sweep, --why ID and --review."""

from pathlib import Path

from rich.console import Console

from forgetfilter.runs import Run

from . import review, sweep, why


def answer(run: Run, swept: bool, asked: str | None, reviewed: int | None) -> None:
    """Prints and writes what was asked for; decides nothing. UserError where it cannot be had."""
    console = Console(highlight=False)
    if swept:
        console.print(sweep.shown(sweep.sweep(run), run))
        _say(console, run.folder / "filter" / "sweep.html")
    if asked is not None:
        console.print(why.shown(why.why(run, asked)))
    if reviewed is not None:
        _say(console, review.write(run, reviewed))
        console.print("Write yes (keep) or no (drop) into its column keep, then run the filter again.")


def _say(console: Console, path: Path) -> None:
    console.print(str(path), soft_wrap=True, markup=False)
