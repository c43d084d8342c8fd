"""The training stages: noisy (from M0 to M1), safe (from M1 to M2), control (from M1 too) and refit (from M0 to M*)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from forgetfilter.config.schema import MICRO_BATCH_TOKENS, Config, LaunchConfig, ScheduleConfig, TrainConfig, number
from forgetfilter.files import read_json, sha256_file
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.tracked_run import Artifact
from forgetfilter.process.tracking import Tracker
from forgetfilter.storage import artifacts
from forgetfilter.storage.formats import RefitRows
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Stage, Task

from . import refit_rows

NAMES = ("noisy", "safe", "control", "refit")
AFTER = {"noisy": (), "safe": ("train-noisy",), "control": ("train-noisy",), "refit": ("filter",)}


@dataclass(frozen=True)
class Finetuning(Task):
    """One finetuning, with everything that it needs to know about its run."""

    name: str
    """One of NAMES."""
    paths: RunPaths
    seed: int
    model: ModelSettings
    max_length: int
    """The most tokens of an example."""
    packing: bool
    options: TrainConfig
    ranks: LaunchConfig
    track: Callable[[], AbstractContextManager[Tracker]]
    """Opens the tracker of the stage."""

    @property
    def data(self) -> Path:
        """The file of the records that it learns."""
        paths = self.paths
        data = {"noisy": paths.noisy_data, "safe": paths.safe_data, "control": paths.control_data}
        return (data | {"refit": paths.refit_data})[self.name]

    @property
    def start(self) -> Path | None:
        """The folder of the model that it starts from; None for M0."""
        return self.paths.model("noisy") if self.name in ("safe", "control") else None

    @property
    def folder(self) -> Path:
        """The folder for its model and its logs."""
        return self.paths.model(self.name)

    @property
    def schedule(self) -> ScheduleConfig:
        return self.options.schedule(self.name)

    @property
    def trained_on(self) -> RefitRows | None:
        """For the refit, the counts of its rows by refit_rows.py, or None before these are written; else None."""
        counts = self.paths.refit_counts
        return read_json(counts) if self.name == "refit" and counts.exists() else None

    @property
    def second_part(self) -> tuple[int, int]:
        """How many rows at the end of the data are learned after all others, and how many passes are made over them."""
        told = self.trained_on
        if told is None or told["data"] != "kept_then_trusted":
            return 0, 0
        return told["trusted"], self.options.refit.trusted_epochs

    def read_artifacts(self) -> list[Artifact]:
        """What it learns, and the model that it starts from where another training made that."""
        sets = [self.name, *(["safe"] if self.trained_on and self.trained_on["trusted"] else [])]
        started = [artifacts.model(self.paths, "noisy")] if self.start else []
        return [*(artifacts.data(self.paths, name) for name in sets), *started]

    def inputs(self) -> object:
        self.paths.require("mix", *AFTER[self.name])
        own = (*NAMES, "checkpoint_steps")  # the schedules of all stages, and a setting that changes no outcome
        options = {key: value for key, value in asdict(self.options).items() if key not in own}
        options["micro_batch_tokens"] = number(self.options.micro_batch_tokens, MICRO_BATCH_TOKENS)
        if self.options.optimizer == "adamw":  # it was the only one once, and older run folders stay done
            del options["optimizer"]
        options["packing"] = self.packing  # data.packing has its old place here, so that older run folders stay done
        schedule = {key: value for key, value in asdict(self.schedule).items() if key not in ("data", "trusted_epochs")}
        parts = [
            self.seed,
            self.model.inputs(),
            self.max_length,
            options,
            schedule,
            sha256_file(self.paths.kept_data if self.name == "refit" else self.data),
            self.paths.state()["train-noisy"]["input_hash"] if self.start else None,
        ]
        return [*parts, *(refit_rows.inputs(self.paths, self.options.refit) if self.name == "refit" else [])]

    def foreign(self) -> dict[str, str | None]:
        from forgetfilter.models.prepare import model_files

        return model_files(self.model, self.options.deepspeed)

    def work(self) -> None:
        from forgetfilter.models.prepare import prepare_before_launch, prepare_tokens
        from forgetfilter.process.launch import launch

        paths, ranks = self.paths, self.ranks
        if self.name == "refit":
            refit_rows.write_refit_rows(paths, self.options.refit.data)
        if self.name == "noisy":  # rows that the safe stages could not read are refused before anything is trained
            for later in filter(Path.exists, (paths.safe_data, paths.control_data)):
                prepare_tokens(self.model, later, self.max_length)
        prepare_before_launch(self.model, self.data, self.max_length)
        launch(
            "forgetfilter.train.__main__",
            [str(paths.folder), self.name],
            ranks.processes,
            ranks.threads,
            needs_group=self.options.deepspeed is not None,
            nodes=ranks.nodes,
        )


def settings(run: Run, name: str) -> Finetuning:
    config = run.config
    return Finetuning(
        name,
        RunPaths(run.folder),
        config.seed,
        ModelSettings.of(config),
        config.data.max_length,
        config.data.packing,
        config.train,
        config.launch,
        run.tracker_of(f"train-{name}"),
    )


def _check(config: Config, name: str) -> None:
    """UserError for a DeepSpeed configuration that cannot be used."""
    if config.train.deepspeed:
        from .zero import settings as deepspeed_settings

        deepspeed_settings(config.train.deepspeed, config.train.method, name, config.train.schedule(name))


def _stage(name: str) -> Stage:
    folder = f"train/{name}"
    task, check, scratch = partial(settings, name=name), partial(_check, name=name), f"{folder}/checkpoints"
    reads = ("mix", *AFTER[name])
    return Stage(f"train-{name}", task, (folder,), folder=folder, reads=reads, check=check, scratch=scratch)


NOISY, SAFE, REFIT = _stage("noisy"), _stage("safe"), _stage("refit")
CONTROL = replace(_stage("control"), wanted=lambda config: config.has_control)
