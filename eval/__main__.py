"""`python -m forgetfilter.eval RUN [MODEL ...] [eval.x=...]`: measure base, noisy, safe or refit of a run.

Alone or as one of several ranks under torchrun. Without a MODEL: those of eval.models.
"""

import sys
from pathlib import Path

import polars as pl
import polars.selectors as cs

from forgetfilter.config.load import to_dict
from forgetfilter.errors import UserError
from forgetfilter.files import read_json
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import process_group
from forgetfilter.process.exit_codes import guard
from forgetfilter.process.peak_memory import leave_peaks
from forgetfilter.process.progress import console
from forgetfilter.process.tracking import tracked
from forgetfilter.storage.run_folder import Run

from .evaluation import evaluate
from .inputs import folder, measured_names
from .judges.judging import agreement_file
from .tables import metrics_sheet, terminal, write

TRACKED_ROWS = 1000  # of a suite's scores in W&B


def main(argv: list[str]) -> None:
    """Evaluates and writes the tables. UserError without a run folder, or for a model that a run does not have."""
    if not argv or "=" in argv[0]:
        raise UserError("name a run folder first, such as: eval runs/quickstart refit")
    overrides = [given for given in argv[1:] if "=" in given]
    if foreign := [given for given in overrides if not given.startswith("eval.")]:
        raise UserError(f"{foreign[0]!r} does not concern the evaluation: only eval.KEY=VALUE can be set here")
    run = Run.open(Path(argv[0]), overrides)
    models = [given for given in argv[1:] if "=" not in given] or list(run.config.eval.models)
    interrupts.install()
    ModelSettings.of(run.config).base()
    with process_group() as world:
        evaluate(run, models, world)
        if world.is_main:
            show(run, models)
        leave_peaks(run.folder)


def show(run: Run, models: list[str]) -> None:
    """Value, 95% interval, prompts scored and missing: to eval/metrics.md, .tex and W&B (no texts).

    The terminal gets the judge's agreement here, and the metrics in the closing table.
    """
    found = {
        (suite, model): read_json(folder(run, model, suite) / "metrics.json")["metrics"]
        for suite in measured_names(run)
        for model in models
    }
    sheet = metrics_sheet(f"Evaluation of {run.config.name}", found)
    if agreement_file(run).exists():
        told = read_json(agreement_file(run))
        console.print(terminal(metrics_sheet("Judge beside labels", {("judge", told["judge"]): told["metrics"]})))
    write(sheet, run.folder / "eval", "metrics")
    console.print(f"eval: every metric, by category too, is in {run.folder / 'eval' / 'metrics.md'} and .tex")
    with tracked(run.config.tracking, run.folder, "eval", to_dict(run.config)) as tracker:
        entries = [(suite, model, name, one) for (suite, model), of in found.items() for name, one in of.items()]
        tracker.log({f"{suite}/{name}/{model}": one["value"] for suite, model, name, one in entries})
        keys = ("value", "low", "high", "n", "missing")
        rows = [(suite, name, model, *map(one.get, keys)) for suite, model, name, one in entries]
        tracker.table("metrics", ("suite", "metric", "model", *keys), rows)
        for suite, model in found:
            scores = pl.read_parquet(folder(run, model, suite) / "scores.parquet", glob=False).head(TRACKED_ROWS)
            scores = scores.select("id", "source", ~cs.string())  # what a model or judge wrote stays here
            tracker.table(f"scores/{suite}/{model}", scores.columns, scores.rows())


if __name__ == "__main__":
    raise SystemExit(guard(lambda: main(sys.argv[1:])))
