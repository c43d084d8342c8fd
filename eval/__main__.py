"""`python -m forgetfilter.eval RUN [MODEL ...] [eval.x=...]`: measure base, noisy, safe or refit of a run.

Alone or as one of several ranks under torchrun. Without a MODEL: those of eval.models.
"""

import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from forgetfilter import interrupts
from forgetfilter.distributed import process_group
from forgetfilter.entry import guard
from forgetfilter.errors import UserError
from forgetfilter.files import read_json
from forgetfilter.preparing import prepare_model
from forgetfilter.progress import console
from forgetfilter.runs import Run

from .stage import evaluate, folder, suites_with_prompts


def main(argv: list[str]) -> None:
    """Evaluates and prints the metrics. UserError without a run folder, or for a model that a run does not have."""
    if not argv or "=" in argv[0]:
        raise UserError("name a run folder first, such as: eval runs/quickstart refit")
    overrides = [given for given in argv[1:] if "=" in given]
    if foreign := [given for given in overrides if not given.startswith("eval.")]:
        raise UserError(f"{foreign[0]!r} does not concern the evaluation: only eval.KEY=VALUE can be set here")
    run = Run.open(Path(argv[0]), overrides)
    models = [given for given in argv[1:] if "=" not in given] or list(run.config.eval.models)
    interrupts.install()
    prepare_model(run)
    with process_group() as world:
        evaluate(run, models, world)
        if world.is_main:
            show(run, models)


def show(run: Run, models: list[str]) -> None:
    """A line a metric: value, 95% interval, prompts scored and missing."""
    table = Table(title="evaluation")
    for name in ("suite", "metric", "model", "value", "95% interval", "n", "missing"):
        table.add_column(name, justify="left" if name in ("suite", "metric", "model") else "right")
    for suite in suites_with_prompts(run):
        for model in models:
            for name, metric in read_json(folder(run, model, suite) / "metrics.json")["metrics"].items():
                table.add_row(suite, name, model, *_shown(metric))
    console.print(table)


def _shown(metric: dict[str, Any]) -> tuple[str, str, str, str]:
    counts = str(metric["n"]), str(metric["missing"])
    if metric["value"] is None:
        return "-", "-", *counts
    return f"{metric['value']:.3f}", f"{metric['low']:.3f} to {metric['high']:.3f}", *counts


if __name__ == "__main__":
    raise SystemExit(guard(lambda: main(sys.argv[1:])))
