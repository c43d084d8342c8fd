"""The eval stage: toxicity, bias, harmfulness and task of each model."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from forgetfilter.config.load import to_dict
from forgetfilter.config.schema import EvalConfig
from forgetfilter.files import read_json
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.tracking import Tracker, tracked
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Stage

if TYPE_CHECKING:
    from forgetfilter.models.loading import ModelRef

MODELS = {"base": (), "noisy": ("train-noisy",), "safe": ("train-safe",), "refit": ("train-refit",)}
"""The models of a run, each with the stages that make it."""


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation needs to know of its run."""

    name: str
    """The run's."""
    paths: RunPaths
    seed: int
    model: ModelSettings
    options: EvalConfig
    batch_tokens: int
    """Tokens of one forward pass of the likelihoods at most."""
    max_length: int
    """Tokens of a prompt with its answer at most."""
    packing: bool
    """Whether several examples may share a row of such a pass."""
    track: Callable[[], AbstractContextManager[Tracker]]
    """Opens the tracker of the stage."""

    @property
    def base(self) -> "ModelRef":
        """M0 on disk, fetched if need be. UserError where it is not to be had."""
        return self.model.base()

    def folder(self, model: str, suite: str) -> Path:
        """Where the outputs, scores and metrics of a suite go."""
        return self.paths.folder / "eval" / model / suite

    @property
    def agreement_file(self) -> Path:
        """Where the judge's agreement with labelled answers is written."""
        return self.paths.folder / "eval" / "judge.json"

    @property
    def judge_name(self) -> str:
        """The judge with its model where that is named: another model is another judge."""
        judge = self.options.judge
        return ": ".join(part for part in (judge.name, judge.model, *judge.labels) if part)


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
        partial(tracked, config.tracking, run.folder, "eval", to_dict(config)),
    )


def inputs(run: Run) -> object:
    from . import harness
    from .inputs import input_hash

    evaluation, options = settings(run), run.config.eval
    run.require("mix", *(stage for model in options.models for stage in MODELS[model]))
    hashes = [
        [model, suite, input_hash(evaluation, model, suite)] for model in options.models for suite in options.suites
    ]
    if not options.lm_eval.tasks:
        return hashes
    return [hashes, asdict(options.lm_eval), harness.own_tasks(options.lm_eval)]


def foreign(run: Run) -> dict[str, str | None]:
    from forgetfilter.models.identity import folder_hash

    from .inputs import rivals

    evaluation = settings(run)
    folders = {"model": evaluation.base.path} | rivals(evaluation.options)
    return {key: folder_hash(folder, evaluation.model.cache) for key, folder in folders.items()}


def work(run: Run) -> None:
    from forgetfilter.process.launch import launch

    options = run.config.launch
    if run.config.eval.backend == "vllm":
        from .vllm_answers import answer_ahead

        answer_ahead(settings(run), list(run.config.eval.models))
    args = [str(run.folder), *run.config.eval.models]
    launch("forgetfilter.eval.__main__", args, options.processes, options.threads, nodes=options.nodes)


def unfinished(run: Run) -> bool:
    """Whether an evaluation that is done lacks verdicts that another try may give."""
    evaluation = settings(run)
    folders = (evaluation.folder(model, suite) for model in MODELS for suite in evaluation.options.suites)
    paths = (folder / "metrics.json" for folder in folders)
    return any(read_json(path).get("failed") for path in paths if path.exists())


# It knows itself what of an earlier evaluation still holds, so nothing is removed before it starts.
EVAL = Stage("eval", inputs, work, foreign, folder="eval", unfinished=unfinished)
