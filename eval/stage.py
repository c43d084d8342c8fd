"""The eval stage, which measures toxicity, bias, harmfulness and the task for each model."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from forgetfilter.config.checks import prompted_suites
from forgetfilter.config.schema import Config
from forgetfilter.files import read_json
from forgetfilter.models.settings import ModelSettings
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Stage

from .task import MODELS, Evaluation


class Evaluating(Evaluation):
    """The evaluation as the pipeline does it."""

    def inputs(self) -> object:
        from . import harness
        from .inputs import input_hash

        models, suites, tasks = self.options.models, self.options.suites, self.options.lm_eval
        self.paths.require("mix", *(stage for model in models for stage in MODELS[model]))
        hashes = [[model, suite, input_hash(self, model, suite)] for model in models for suite in suites]
        return [hashes, asdict(tasks), harness.own_tasks(tasks)] if tasks.tasks else hashes

    def foreign(self) -> dict[str, str | None]:
        from .inputs import loaded

        return loaded(self)

    def work(self) -> None:
        from forgetfilter.process.launch import launch

        models, ranks = [str(model) for model in self.options.models], self.ranks
        if self.options.backend == "vllm":
            from .vllm_answers import answer_ahead

            answer_ahead(self, models)
        args = [str(self.paths.folder), *models]
        launch("forgetfilter.eval.__main__", args, ranks.processes, ranks.threads, nodes=ranks.nodes)

    def foresee(self) -> list[str]:
        from .preflight import check_prompts

        return check_prompts(self)

    def log(self, models: Sequence[str], target: Path) -> list[Path]:
        from .inspect_log import write_logs

        return write_logs(self, models, target)

    def unfinished(self) -> bool:
        """Whether a finished evaluation lacks verdicts that another try may give."""
        folders = (self.folder(model, suite) for model in MODELS for suite in self.options.suites)
        paths = (folder / "metrics.json" for folder in folders)
        return any(read_json(path).get("failed") for path in paths if path.exists())


def settings(run: Run) -> Evaluation:
    config = run.config
    return Evaluating(
        config.name,
        RunPaths(run.folder),
        config.seed,
        ModelSettings.of(config),
        config.eval,
        config.data.batch_tokens,
        config.data.max_length,
        config.data.packing,
        config.launch,
        run.tracker_of("eval"),
    )


def _check(config: Config) -> None:
    from .preflight import check_instruments

    check_instruments(config.eval, prompted_suites(config))


# Nothing is removed before the stage starts, because it knows itself which earlier results still hold.
READS = ("mix", "train-noisy", "train-safe", "train-refit")
EVAL = Stage("eval", settings, folder="eval", reads=READS, check=_check)
