"""The training stages: noisy (M0 to M1), safe (M1 to M2), control (from M1 too) and refit (M0 to M*)."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from forgetfilter.config.load import to_dict
from forgetfilter.files import sha256_file
from forgetfilter.models.chat_template import model_inputs
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.stage import Stage

NAMES = ("noisy", "safe", "control", "refit")
AFTER = {"noisy": (), "safe": ("train-noisy",), "control": ("train-noisy",), "refit": ("filter",)}


def data_of(run: Run, name: str) -> Path:
    """What a stage learns."""
    data = {"noisy": run.noisy_data, "safe": run.safe_data, "control": run.control_data, "refit": run.kept_data}
    return data[name]


def start_of(run: Run, name: str) -> Path | None:
    """What the stage goes on from: `safe` and `control` start from M1, the others from M0."""
    return run.model("noisy") if name in ("safe", "control") else None


def inputs(name: str, run: Run) -> object:
    run.require("mix", *AFTER[name])
    plain = to_dict(run.config)
    own = (*NAMES, "checkpoint_steps")  # the other stages' schedules, and what changes no outcome
    return [
        plain["seed"],
        model_inputs(run.config.model),
        plain["data"]["max_length"],
        {key: value for key, value in plain["train"].items() if key not in own},
        asdict(run.config.train.schedule(name)),
        sha256_file(data_of(run, name)),
        run.state()["train-noisy"]["input_hash"] if start_of(run, name) else None,
    ]


def foreign(run: Run) -> dict[str, str | None]:
    from forgetfilter.models.prepare import model_files

    return model_files(run)


def work(name: str, run: Run) -> None:
    from forgetfilter.models.prepare import prepare_before_launch, prepare_tokens
    from forgetfilter.process.launch import launch

    if name == "noisy":  # what the safe stages cannot read is told before anything is trained
        for later in filter(Path.exists, (run.safe_data, run.control_data)):
            prepare_tokens(run, later)
    prepare_before_launch(run, data_of(run, name))
    options = run.config.launch
    launch(
        "forgetfilter.train.__main__",
        [str(run.folder), name],
        options.processes,
        options.threads,
        needs_group=run.config.train.deepspeed is not None,
        nodes=options.nodes,
    )


def _stage(name: str) -> Stage:
    folder = f"train/{name}"
    scratch = f"{folder}/checkpoints"
    return Stage(f"train-{name}", partial(inputs, name), partial(work, name), foreign, (folder,), scratch=scratch)


NOISY, SAFE, REFIT = _stage("noisy"), _stage("safe"), _stage("refit")
CONTROL = replace(_stage("control"), wanted=lambda run: run.config.has_control)
