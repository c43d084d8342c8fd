"""An evaluation as a value, which stage.py makes of a run and every other file of this folder takes."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forgetfilter.config.schema import EvalConfig, LaunchConfig
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.tracking import Tracker
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Task

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
