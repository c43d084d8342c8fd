"""The training stages: noisy (M0 to M1), safe (M1 to M2), control (from M1 too) and refit (M0 to M*)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from forgetfilter.config.load import to_dict
from forgetfilter.config.schema import ScheduleConfig, TrainConfig
from forgetfilter.files import read_json, sha256_file
from forgetfilter.models.chat_template import model_inputs
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.tracking import Tracker, tracked
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.stage import Stage

from . import refit_rows

NAMES = ("noisy", "safe", "control", "refit")
AFTER = {"noisy": (), "safe": ("train-noisy",), "control": ("train-noisy",), "refit": ("filter",)}


@dataclass(frozen=True)
class Finetuning:
    """All that one finetuning needs to know of its run."""

    name: str
    """One of NAMES."""
    seed: int
    model: ModelSettings
    data: Path
    """The records that it learns."""
    max_length: int
    """Tokens an example at most."""
    packing: bool
    start: Path | None
    """What it goes on from; None for M0."""
    folder: Path
    """Where its model and its logs go."""
    options: TrainConfig
    track: Callable[[], AbstractContextManager[Tracker]]
    """Opens the tracker of the stage."""
    trained_on: dict[str, Any] | None = None
    """Of the refit: where its rows come from, as refit_rows.py tells; None before they are written."""

    @property
    def schedule(self) -> ScheduleConfig:
        return self.options.schedule(self.name)

    @property
    def second_part(self) -> tuple[int, int]:
        """(rows at the end of the data that are learned after all the others, passes over them)."""
        told = self.trained_on
        if told is None or told["data"] != "kept_then_trusted":
            return 0, 0
        return told["trusted"], self.options.refit.trusted_epochs


def settings(run: Run, name: str) -> Finetuning:
    config = run.config
    data = {"noisy": run.noisy_data, "safe": run.safe_data, "control": run.control_data, "refit": run.refit_data}
    return Finetuning(
        name,
        config.seed,
        ModelSettings.of(config),
        data[name],
        config.data.max_length,
        config.data.packing,
        run.model("noisy") if name in ("safe", "control") else None,
        run.model(name),
        config.train,
        partial(tracked, config.tracking, run.folder, f"train-{name}", to_dict(config)),
        read_json(run.refit_counts) if name == "refit" and run.refit_counts.exists() else None,
    )


def inputs(name: str, run: Run) -> object:
    run.require("mix", *AFTER[name])
    plain, task = to_dict(run.config), settings(run, name)
    own = (*NAMES, "checkpoint_steps")  # the stages' own schedules, and what changes no outcome
    options = {key: value for key, value in plain["train"].items() if key not in own}
    options["packing"] = task.packing  # data.packing under the name that it had: run folders of before stay done
    schedule = {key: value for key, value in asdict(task.schedule).items() if key not in ("data", "trusted_epochs")}
    parts = [
        plain["seed"],
        model_inputs(run.config.model),
        plain["data"]["max_length"],
        options,
        schedule,
        sha256_file(run.kept_data if name == "refit" else task.data),
        run.state()["train-noisy"]["input_hash"] if task.start else None,
    ]
    return [*parts, *(refit_rows.inputs(run, run.config.train.refit) if name == "refit" else [])]


def foreign(run: Run) -> dict[str, str | None]:
    from forgetfilter.models.prepare import model_files

    return model_files(ModelSettings.of(run.config), run.config.train.deepspeed)


def work(name: str, run: Run) -> None:
    from forgetfilter.models.prepare import prepare_before_launch, prepare_tokens
    from forgetfilter.process.launch import launch

    if name == "refit":
        refit_rows.write_refit_rows(run, run.config.train.refit.data)
    task, options = settings(run, name), run.config.launch
    if name == "noisy":  # what the safe stages cannot read is told before anything is trained
        for later in filter(Path.exists, (run.safe_data, run.control_data)):
            prepare_tokens(task.model, later, task.max_length)
    prepare_before_launch(task.model, task.data, task.max_length)
    launch(
        "forgetfilter.train.__main__",
        [str(run.folder), name],
        options.processes,
        options.threads,
        needs_group=task.options.deepspeed is not None,
        nodes=options.nodes,
    )


def _stage(name: str) -> Stage:
    folder = f"train/{name}"
    scratch = f"{folder}/checkpoints"
    given, do = partial(inputs, name), partial(work, name)
    return Stage(f"train-{name}", given, do, foreign, (folder,), folder=folder, scratch=scratch)


NOISY, SAFE, REFIT = _stage("noisy"), _stage("safe"), _stage("refit")
CONTROL = replace(_stage("control"), wanted=lambda run: run.config.has_control)
