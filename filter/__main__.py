"""`python -m forgetfilter.filter RUN [filter.x=...]`: decide again on a run's stored signals, without a model.

It decides and no more: `forgetfilter filter RUN` keeps the report up with the decision too."""

import sys
from pathlib import Path

from rich.console import Console

from forgetfilter.errors import EXIT_USER, UserError
from forgetfilter.report.terminal import filter_table
from forgetfilter.storage.run_folder import Run

from .decide import decide, input_hash
from .stage import settings


def main(argv: list[str]) -> None:
    """Decides and prints what came of it. UserError without a run folder."""
    if not argv or "=" in argv[0]:
        raise UserError("name a run folder first, such as: filter runs/quickstart filter.quantile=0.2")
    overrides = argv[1:]
    if foreign := [given for given in overrides if not given.startswith("filter.")]:
        raise UserError(f"{foreign[0]!r} does not concern the filter: only filter.KEY=VALUE can be set here")
    run = Run.open(Path(argv[0]), overrides)
    with run.stage("filter", input_hash(settings(run)), stands=(run.folder / "filter" / "summary.json").exists):
        summary = decide(settings(run))
    Console(highlight=False).print(filter_table(summary))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_USER)
