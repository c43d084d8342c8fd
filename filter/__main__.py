"""`python -m forgetfilter.filter RUN [filter.x=...]`: decide again on a run's stored signals, without a model."""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from forgetfilter.card import unscored
from forgetfilter.errors import EXIT_USER, UserError
from forgetfilter.runs import Run

from .decide import decide, input_hash


def main(argv: list[str]) -> None:
    """Decides and prints what came of it. UserError without a run folder."""
    if not argv or "=" in argv[0]:
        raise UserError("name a run folder first, such as: filter runs/quickstart filter.quantile=0.2")
    overrides = argv[1:]
    if foreign := [given for given in overrides if not given.startswith("filter.")]:
        raise UserError(f"{foreign[0]!r} does not concern the filter: only filter.KEY=VALUE can be set here")
    run = Run.open(Path(argv[0]), overrides)
    with run.stage("filter", input_hash(run)):
        summary = decide(run)
    show(summary, Console())


def show(summary: dict[str, Any], console: Console) -> None:
    """Kept and dropped a source, and the quality where there are labels."""
    table = Table(title=f"{summary['signal']}, {summary['rule']['name']}")
    table.add_column("source")
    table.add_column("kept", justify="right")
    table.add_column("dropped", justify="right")
    for source, counts in summary["by_source"].items():
        table.add_row(source, str(counts["kept"]), str(counts["dropped"]))
    table.add_section()
    table.add_row("all", str(summary["kept"]), str(summary["dropped"]))
    console.print(table)
    if not summary["dropped"]:
        console.print("Nothing was dropped: the refit sees all of the noisy data.")
    for remark in unscored(summary):
        console.print(f"{remark}.", markup=False)
    for key in ("note", "export_note"):
        if summary.get(key):
            console.print(summary[key], markup=False)
    if summary["quality"]:
        numbers = {key: value for key, value in summary["quality"].items() if key != "all_signals"}
        console.print("  ".join(f"{key} {_shown(value)}" for key, value in numbers.items()))


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_USER)
