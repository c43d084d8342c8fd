"""The street, in order: mix, train noisy, safe and perhaps control, score, filter, train refit, eval, report.

Each stage says what it depends on; a stage whose inputs are unchanged and which is done is skipped, one that was
stopped goes on, and one whose inputs changed starts anew.
"""

import importlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forgetfilter.config.load import to_dict
from forgetfilter.config.schema import ScoreConfig
from forgetfilter.data import tokens
from forgetfilter.errors import UserError
from forgetfilter.files import sha256_file, sha256_value
from forgetfilter.models import vllm_engine
from forgetfilter.models.loading import attention_backend, load_tokenizer, template_hash
from forgetfilter.models.prepare import prepare_model, prepare_rivals, prepare_tokens
from forgetfilter.process import interrupts
from forgetfilter.process.launch import LAUNCHER, launch
from forgetfilter.process.progress import console
from forgetfilter.process.tracking import tracked
from forgetfilter.storage.run_folder import Run


@dataclass(frozen=True)
class Stage:
    """One arrow of the street."""

    name: str
    inputs: Callable[[Run], Any]
    """What the outcome depends on, as a JSON value; its hash decides whether the stage is done again."""
    work: Callable[[Run], None]
    outputs: tuple[str, ...]
    """Folders and files below the run folder that are removed before the stage starts anew."""
    files: tuple[str, ...] = ()
    """Files below the run folder that stand for the outcome: while one of them is missing the stage is not done."""
    unfinished: Callable[[Run], bool] = lambda run: False
    """Whether a stage that is done left something out that another try may give."""
    wanted: Callable[[Run], bool] = lambda run: True
    """Whether the config asks for the stage at all."""
    scratch: str | None = None
    """The folder from which a stopped stage goes on: removed once the stage is recorded as done, never before."""


def run_street(run: Run) -> None:
    """Every stage in order; where nothing is trained, only the evaluation."""
    preflight(run)
    for stage in STREET:
        if stage.wanted(run) and (not run.config.only_evaluates or stage.name in ("mix", "eval")):
            run_stage(run, stage)


def run_stage(run: Run, stage: Stage, again: bool = False) -> None:
    """One stage, unless it is done with the same inputs and not asked for `again`."""
    if not stage.wanted(run):
        console.print(f"{stage.name}: nothing to do, the config does not ask for it")
        return
    input_hash = sha256_value(stage.inputs(run))
    done = run.is_done(stage.name, input_hash) and not _lost(run, stage)
    if done and not again and not stage.unfinished(run):
        console.print(f"{stage.name}: done already")
        _remove_scratch(run, stage)
        return
    if not run.started_with(stage.name, input_hash):
        for output in stage.outputs:
            _remove(run.folder / output)
    start = time.monotonic()
    interrupts.stop_if_requested(f"before {stage.name}: the run")
    options = run.config.launch
    ranks = options.nodes * options.processes
    with run.stage(stage.name, input_hash, ranks, lambda: bool(stage.files) and not _lost(run, stage)):
        stage.work(run)
    _remove_scratch(run, stage)
    console.print(f"{stage.name}: {time.monotonic() - start:.0f} s")


def _lost(run: Run, stage: Stage) -> bool:
    return not all((run.folder / file).exists() for file in stage.files)


def _remove_scratch(run: Run, stage: Stage) -> None:
    if stage.scratch:
        shutil.rmtree(run.folder / stage.scratch, ignore_errors=True)


def require(run: Run, *stages: str) -> None:
    """UserError where an earlier stage of the run has not been done."""
    for name in stages:
        if run.state().get(name, {}).get("status") != "done":
            command = name.replace("train-", "train ")
            raise UserError(f"{run.folder}: stage {name} is not done; run forgetfilter {command} first, or run for all")


def is_current(run: Run, name: str) -> bool:
    """Whether a stage is done, and with the inputs that it would have now."""
    stage = next(stage for stage in STREET if stage.name == name)
    return run.is_done(name, sha256_value(stage.inputs(run)))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def preflight(run: Run, models: bool = True) -> None:
    """Refuses what cannot work before any model is loaded: model name, tokenizer, template, attention, DeepSpeed.

    `models`: whether the command loads any; one that does not may run where there is no GPU.
    """
    import torch

    config = run.config
    if config.launch.nodes > 1 and not os.environ.get(LAUNCHER):
        raise UserError(f"launch.nodes is {config.launch.nodes}: submit with sbatch slurm/run_forgetfilter.sh")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if models:
        attention_backend(config.model.attention, device)
    if device.type == "cuda" and config.launch.processes > torch.cuda.device_count():
        raise UserError(
            f"launch.processes is {config.launch.processes}, but there are {torch.cuda.device_count()} GPUs"
        )
    if config.train.deepspeed:
        importlib.import_module("forgetfilter.train.zero").settings(config.train.deepspeed)
    if config.eval.backend == "vllm":
        vllm_engine.require()
    prepare_rivals(run)
    tokenizer = load_tokenizer(prepare_model(run).path, config.model.chat_template)
    tokens.render(tokenizer, [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])


# -- the stages -------------------------------------------------------------------------------------------------


def _mix(run: Run) -> None:
    importlib.import_module("forgetfilter.mix.stage").mix(run)


def _mix_inputs(run: Run) -> Any:
    return importlib.import_module("forgetfilter.mix.stage").input_hash(run.config)


def _train_stage(
    name: str,
    data: Callable[[Run], Path],
    after: tuple[str, ...] = (),
    wanted: Callable[[Run], bool] = lambda run: True,
) -> Stage:
    def inputs(run: Run) -> Any:
        require(run, "mix", *after)
        plain = to_dict(run.config)
        own = ("noisy", "safe", "control", "refit", "checkpoint_steps")
        train = {k: v for k, v in plain["train"].items() if k not in own}
        start = run.state()["train-noisy"]["input_hash"] if name in ("safe", "control") else None
        return [
            plain["seed"],
            _model_inputs(run),
            plain["data"]["max_length"],
            train,
            asdict(run.config.train.schedule(name)),
            _sha(data(run)),
            start,
        ]

    def work(run: Run) -> None:
        options = run.config.launch
        prepare(run, data(run))
        launch(
            "forgetfilter.train.__main__",
            [str(run.folder), name],
            options.processes,
            options.threads,
            needs_group=run.config.train.deepspeed is not None,
            nodes=options.nodes,
        )

    folder = f"train/{name}"
    return Stage(f"train-{name}", inputs, work, (folder,), wanted=wanted, scratch=f"{folder}/checkpoints")


def prepare(run: Run, data: Path) -> None:
    """Tokenises once, before anything distributed starts: ranks that wait for it would run into their time-out."""
    summary = prepare_tokens(run, data).summary
    cut = f", {summary['cut']} of them cut to {run.config.data.max_length}" if summary["cut"] else ""
    console.print(f"{data.name}: {summary['rows']} examples, {summary['tokens']} tokens{cut}")


def _model_inputs(run: Run) -> dict[str, Any]:
    model = run.config.model
    return asdict(model) | {"chat_template": template_hash(model.chat_template)}


def _sha(path: Path) -> str:
    return sha256_file(path)


def _has_control(run: Run) -> bool:
    return run.config.has_control


# not in the hash while off: runs scored before they came stay done
LATER = ("gradients", "gradient_dimensions", "encoder", "guard")


def _score_inputs(run: Run) -> Any:
    stages = ["train-noisy", "train-safe", *(["train-control"] if _has_control(run) else [])]
    require(run, "mix", *stages)
    plain, state = to_dict(run.config), run.state()
    trained = [state[name]["input_hash"] for name in stages]
    off = asdict(ScoreConfig())
    later = {key for key in LATER if plain["score"][key] == off[key]}
    score = {key: value for key, value in plain["score"].items() if key not in {"shard_rows", *later}}
    score["packing"] = plain["train"]["packing"]
    return [_model_inputs(run), plain["data"]["max_length"], score, _sha(run.noisy_data), trained]


def _score(run: Run) -> None:
    prepare(run, run.noisy_data)
    options = run.config.launch
    launch("forgetfilter.score.stage", [str(run.folder)], options.processes, options.threads, nodes=options.nodes)


def _score_unfinished(run: Run) -> bool:
    return bool(importlib.import_module("forgetfilter.score.stage").unfinished(run))


def _filter_inputs(run: Run) -> Any:
    require(run, "mix", "score")
    return importlib.import_module("forgetfilter.filter.decide").input_hash(run)


def _filter(run: Run) -> None:
    summary = importlib.import_module("forgetfilter.filter.decide").decide(run)
    with tracked(run.config.tracking, run.folder, "filter", to_dict(run.config)) as tracker:
        quality = summary["quality"] or {}
        numbers = {key: value for key, value in quality.items() if isinstance(value, (int, float))}
        tracker.log({"kept": summary["kept"], "dropped": summary["dropped"]} | numbers)


EVALUATED = {"base": (), "noisy": ("train-noisy",), "safe": ("train-safe",), "refit": ("train-refit",)}


def _eval_inputs(run: Run) -> Any:
    require(run, "mix", *(stage for model in run.config.eval.models for stage in EVALUATED[model]))
    inputs = importlib.import_module("forgetfilter.eval.inputs")
    options = run.config.eval
    hashes = [
        [model, suite, inputs.input_hash(run, model, suite)] for model in options.models for suite in options.suites
    ]
    if not options.lm_eval.tasks:
        return hashes
    own = importlib.import_module("forgetfilter.eval.harness").own_tasks(options.lm_eval)
    return [hashes, asdict(options.lm_eval), own]


def _eval(run: Run) -> None:
    options = run.config.launch
    if run.config.eval.backend == "vllm":
        importlib.import_module("forgetfilter.eval.vllm_answers").answer_ahead(run, list(run.config.eval.models))
    args = [str(run.folder), *run.config.eval.models]
    launch("forgetfilter.eval.__main__", args, options.processes, options.threads, nodes=options.nodes)


def _eval_unfinished(run: Run) -> bool:
    return bool(importlib.import_module("forgetfilter.eval.judges.judging").unfinished(run))


def _report_inputs(run: Run) -> Any:
    require(run, "filter")
    return {name: entry for name, entry in run.state().items() if name != "report"}


def _report(run: Run) -> None:
    importlib.import_module("forgetfilter.report.page").write_report(run)


DECISION = tuple(f"filter/{name}" for name in ("summary.json", "decisions.parquet", "kept.jsonl", "dropped.jsonl"))
STREET = (
    Stage("mix", _mix_inputs, _mix, ("data",)),
    _train_stage("noisy", lambda run: run.noisy_data),
    _train_stage("safe", lambda run: run.safe_data, after=("train-noisy",)),
    _train_stage("control", lambda run: run.control_data, after=("train-noisy",), wanted=_has_control),
    # these know themselves what of an earlier outcome still holds, or replace it once all checks are passed
    Stage("score", _score_inputs, _score, (), unfinished=_score_unfinished),
    Stage("filter", _filter_inputs, _filter, (), DECISION),
    _train_stage("refit", lambda run: run.kept_data, after=("filter",)),
    Stage("eval", _eval_inputs, _eval, (), unfinished=_eval_unfinished),
    Stage("report", _report_inputs, _report, (), ("report.html", "card.json")),
)
