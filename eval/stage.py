"""The eval stage, which measures toxicity, bias, harmfulness and the task for each model."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgetfilter.config.checks import prompted_suites
from forgetfilter.config.schema import Config, EvalConfig, LaunchConfig
from forgetfilter.files import read_json
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.tracking import Tracker
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Comparison, Stage, Task

if TYPE_CHECKING:
    from forgetfilter.models.loading import ModelRef

MODELS = {"base": (), "noisy": ("train-noisy",), "safe": ("train-safe",), "refit": ("train-refit",)}
"""The models of a run, each with the stages that make it."""


@dataclass(frozen=True)
class Evaluation(Task):
    """An evaluation, with everything that it needs to know about its run."""

    name: str
    """The name of the run."""
    paths: RunPaths
    seed: int
    model: ModelSettings
    options: EvalConfig
    batch_tokens: int | str
    """The most tokens of one forward pass of the likelihoods."""
    max_length: int
    """The most tokens of a prompt with its answer."""
    packing: bool
    """Whether several examples may share a row of such a pass."""
    ranks: LaunchConfig
    track: Callable[[], AbstractContextManager[Tracker]]
    """Opens the tracker of the stage."""

    @property
    def base(self) -> "ModelRef":
        """M0 on disk, fetched if need be. UserError where it is not available."""
        return self.model.base()

    def folder(self, model: str, suite: str) -> Path:
        """The folder for the outputs, scores and metrics of a suite."""
        return self.paths.folder / "eval" / model / suite

    @property
    def agreement_file(self) -> Path:
        """The file for the judge's agreement with labelled answers."""
        return self.paths.folder / "eval" / "judge.json"

    @property
    def judge_name(self) -> str:
        """The judge's name, with its model where the config names one, because another model is another judge."""
        judge = self.options.judge
        return ": ".join(part for part in (judge.name, judge.model, *judge.labels) if part)

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

    def unfinished(self) -> bool:
        """Whether a finished evaluation lacks verdicts that another try may give."""
        folders = (self.folder(model, suite) for model in MODELS for suite in self.options.suites)
        paths = (folder / "metrics.json" for folder in folders)
        return any(read_json(path).get("failed") for path in paths if path.exists())


def settings(run: Run) -> Evaluation:
    config = run.config
    return Evaluation(
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


def _compare(given: tuple[str, str], within: str | None) -> Path:
    from .compare import main

    return main(given, within)


def _differences(first: Sequence[Path], second: Sequence[Path]) -> dict[str, dict[str, dict[str, Any]]]:
    from .side_by_side import differences

    return differences(first, second)


# Nothing is removed before the stage starts, because it knows itself which earlier results still hold.
READS = ("mix", "train-noisy", "train-safe", "train-refit")
EVAL = Stage("eval", settings, folder="eval", reads=READS, check=_check)
COMPARISON = Comparison(_compare, _differences)
