"""`python -m forgetfilter.eval RUN [MODEL ...] [eval.x=...]` measures base, noisy, safe or refit of a run.

It runs alone or as one of several ranks under torchrun. Without a MODEL it measures those of eval.models.
"""

import sys
from pathlib import Path

from forgetfilter.errors import UserError
from forgetfilter.files import read_json
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import process_group
from forgetfilter.process.exit_codes import exit_code_of
from forgetfilter.process.passes import leave_measures
from forgetfilter.process.progress import console
from forgetfilter.storage.run_folder import Run

from .evaluation import evaluate
from .inputs import measured_names
from .stage import settings
from .tables import metrics_sheet, terminal, write
from .task import Evaluation
from .tracked import log_evaluation


def main(argv: list[str]) -> None:
    """Evaluates and writes the tables. UserError without a run folder, or for a model that the run does not have."""
    if not argv or "=" in argv[0]:
        raise UserError("name a run folder first, such as: eval runs/quickstart refit")
    overrides = [given for given in argv[1:] if "=" in given]
    if foreign := [given for given in overrides if not given.startswith("eval.")]:
        raise UserError(f"{foreign[0]!r} does not concern the evaluation: only eval.KEY=VALUE can be set here")
    evaluation = settings(Run.open(Path(argv[0]), overrides))
    models = [given for given in argv[1:] if "=" not in given] or list(evaluation.options.models)
    interrupts.install()
    evaluation.model.base()  # fetches M0 to this node before its ranks meet
    with process_group(evaluation.ranks.timeout) as world:
        evaluate(evaluation, models, world)
        if world.is_main:
            show(evaluation, models)
        leave_measures(evaluation.paths.folder)


def show(evaluation: Evaluation, models: list[str]) -> None:
    """Writes each metric with its interval and its counts to eval/metrics.md, .tex and the tracked run.

    The terminal shows the judge's agreement here; the closing table shows the metrics.
    """
    measured = {
        (suite, model): read_json(evaluation.folder(model, suite) / "metrics.json")["metrics"]
        for suite in measured_names(evaluation)
        for model in models
    }
    sheet = metrics_sheet(f"Evaluation of {evaluation.name}", measured)
    if evaluation.agreement_file.exists():
        told = read_json(evaluation.agreement_file)
        agreement = {("judge", told["judge"]): told["metrics"]}
        console.print(terminal(metrics_sheet("Agreement of the judge with people's labels", agreement)))
    folder = evaluation.paths.folder / "eval"
    write(sheet, folder, "metrics")
    console.print(f"eval: every metric, by category too, is in {folder / 'metrics.md'} and .tex")
    with evaluation.track() as tracker:
        log_evaluation(evaluation, models, measured, tracker)


if __name__ == "__main__":
    raise SystemExit(exit_code_of(lambda: main(sys.argv[1:])))
