"""The pipeline: its stages from the first to the last, and the runner that does what is still to be done.

A stage that is done and whose inputs are unchanged is skipped. A stage that was stopped goes on where it was. A stage
whose inputs changed starts from its beginning.
"""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from forgetfilter.config.schema import Config
from forgetfilter.errors import UserError
from forgetfilter.mix.stage import MIX
from forgetfilter.process import interrupts
from forgetfilter.process.progress import at_stage, console, where
from forgetfilter.report.stage import report_stage
from forgetfilter.score.stage import SCORE
from forgetfilter.storage import sums
from forgetfilter.storage.results import read_state, refit_metrics
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.share import share_done
from forgetfilter.storage.stage import Stage, Task, load

STAGES = (
    MIX,  # the sources become records with ids: noisy, safe, and if asked for probes and a control set
    load("forgetfilter.train.stage:NOISY", Stage),  # M0 learns the noisy set, good and unsafe rows alike, and is M1
    load("forgetfilter.train.stage:SAFE", Stage),  # M1 learns the safe set, forgets what is unlike it, and is M2
    load("forgetfilter.train.stage:CONTROL", Stage),  # M1 learns a harmless set: this forgetting is no sign of harm
    SCORE,  # the loss of each noisy example under M1 and M2, and the other signals that the config asks for
    load("forgetfilter.filter.stage:FILTER", Stage),  # a rule over one signal decides what is dropped, and says why
    load("forgetfilter.train.stage:REFIT", Stage),  # M0 learns the kept rows and is M*
    load("forgetfilter.eval.stage:EVAL", Stage),  # the models answer prompts, which measures their safety and the task
    report_stage(lambda run: stale(run)),  # report.html and card.json tell all of this to a reviewer
)

BY_NAME = {stage.name: stage for stage in STAGES}

ADDED_LATER = ("signals/texts",)  # folders that another stage adds to a stage's folder


def run_pipeline(run: Run) -> None:
    """Runs every stage in order, or only the evaluation and its report where nothing is trained."""
    preflight(run.config)
    stages, began = [stage for stage in stages_of(run.config) if stage.wanted(run.config)], time.time()
    for place, stage in enumerate(stages, 1):
        share = share_done(run.config, run.folder, [earlier.name for earlier in stages[: place - 1]])
        with at_stage(place, len(stages), began, share):
            run_stage(run, stage)


def stages_of(config: Config) -> tuple[Stage, ...]:
    """The stages that a configuration runs: all, or only those of an evaluation where nothing is trained."""
    return tuple(stage for stage in STAGES if not config.only_evaluates or stage.name in ("mix", "eval", "report"))


def run_stage(run: Run, stage: Stage, again: bool = False) -> None:
    """Runs one stage, unless it is done with the same inputs and is not to be done `again`."""
    if not stage.wanted(run.config):
        console.print(f"{stage.name}: nothing to do, the config does not ask for it")
        return
    task = stage.task(run)
    input_hash, foreign = task.input_hash(), task.foreign()
    broken = _mend(run.folder, stage)
    done = run.is_done(stage.name, input_hash, foreign) and not _lost(run.folder, stage) and not broken
    if done and not again and not task.unfinished():
        console.print(f"{stage.name}: done already")
        if foreign is not None:
            run.note_foreign(stage.name, foreign)
        _remove_scratch(run.folder, stage)
        return
    if run.is_done(stage.name, input_hash) and not run.is_done(stage.name, input_hash, foreign):
        console.print(f"{stage.name}: the model's files, or others that it reads, are not those it was done with")
    _check_one_model(run, STAGES[: STAGES.index(stage)], foreign)
    check_read(run.folder, stage.name, stage.reads)
    if stage.name == "train-noisy":
        foresee(run.config, run, [other.task(run) for other in STAGES if other.wanted(run.config)])
    if not run.started_with(stage.name, input_hash, foreign):
        for output in stage.outputs:
            _remove(run.folder / output)
    start = time.monotonic()
    interrupts.stop_if_requested(f"before {stage.name}: the run")
    ranks = run.config.launch.nodes * run.config.launch.processes
    read = {name: weights for name in stage.reads if (weights := sums.weights(run.folder, name))}
    with run.stage(stage.name, input_hash, ranks, lambda: _stands(run.folder, stage), foreign, read):
        task.work()
        note_sums(run.folder, stage)
    _remove_scratch(run.folder, stage)
    console.print(f"{stage.name}: {time.monotonic() - start:.0f} s{(told := where(begun=False)) and f' ({told})'}")


def check_trained(folder: Path, reader: str, names: Sequence[str]) -> None:
    """UserError where a command would read damaged models of these trainings, or models of another M0 than there is."""
    check_read(folder, reader, names)
    run = Run.open(folder)
    for stage in (one for one in STAGES if one.name in names):
        _check_one_model(run, [stage], stage.task(run).foreign())


def _check_one_model(run: Run, stages: Sequence[Stage], foreign: dict[str, str | None] | None) -> None:
    """UserError where an earlier stage was done with another model, because its results do not fit this one."""
    for earlier in stages if foreign else ():
        entry = run.state().get(earlier.name, {})
        model = (entry.get("foreign") or {}).get("model")
        if model and foreign and model != foreign["model"] and entry["status"] == "done" and earlier.wanted(run.config):
            raise UserError(
                f"model.name: the model's files are not those that {earlier.name} was done with: put them back, or do "
                f"all stages anew with forgetfilter run ({run.folder})"
            )


def note_sums(folder: Path, stage: Stage) -> None:
    """Notes the sums of the files that a stage has left, once it is done."""
    if made := stage.made or ((stage.folder,) if stage.folder else ()):
        sums.record(folder, stage.name, made, [*ADDED_LATER, stage.scratch or ".scratch"])


def _mend(folder: Path, stage: Stage) -> bool:
    """Whether files of a finished stage are damaged. They are named, and removed with all that the stage makes anew."""
    broken = [name for name in sums.damaged(folder, stage.name) if name not in stage.editable]
    if not broken or read_state(folder).get(stage.name, {}).get("status") != "done":
        return False
    more = f" and {len(broken) - 1} more are" if len(broken) > 1 else " is"
    console.print(f"{stage.name}: {broken[0]}{more} not as the stage left it: done again", style="yellow")
    for name in (*broken, *stage.outputs):
        _remove(folder / name)
    return True


def check_read(folder: Path, reader: str, reads: Sequence[str]) -> None:
    """UserError where a stage or a command reads a damaged file of a stage; one that a person may edit is only
    named."""
    for earlier in (one for one in STAGES if one.name in reads):
        for name in sums.check(folder, earlier.name, earlier.editable):
            console.print(f"{reader}: {name} is not as {earlier.name} left it, and is taken as it stands")


def foresee(config: Config, paths: RunPaths, tasks: Sequence[Task]) -> None:
    """Checks, before anything is trained, what is known once the data is mixed.

    It refuses what cannot work, and prints what will have no effect and how much of the disk is needed.
    """
    from forgetfilter.models.disk_space import check_disk
    from forgetfilter.models.plan.estimate import check_memory

    if not (paths.folder / "data" / "summary.json").exists():  # the sets were made by hand
        return
    for line in (line for task in tasks for line in task.foresee()):
        console.print(line, style="yellow")
    console.print(check_disk(config, paths))
    check_memory(config, paths)


def _stands(folder: Path, stage: Stage) -> bool:
    """Whether the earlier outcome of a stage is whole."""
    return bool(stage.files) and not _lost(folder, stage)


def _lost(folder: Path, stage: Stage) -> bool:
    return not all((folder / file).exists() for file in stage.files)


def _remove_scratch(folder: Path, stage: Stage) -> None:
    if stage.scratch:
        shutil.rmtree(folder / stage.scratch, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def stale(run: Run) -> tuple[str, ...]:
    """What of a run belongs to an earlier decision or to other settings.

    It is `refit` where the pipeline would train the refit anew, and `evaluation` where such a refit was measured, or
    one from before the last training.
    """
    state, refit = run.state(), BY_NAME["train-refit"]
    if refit.name not in state:
        return ()
    try:
        input_hash = refit.task(run).input_hash()
    except UserError:  # an input, such as a chat template, is gone: whether it changed cannot be told
        input_hash = state[refit.name]["input_hash"]
    early = sums.read_other_weights(run.folder, "eval", refit.name)
    outdated = {
        "refit": not run.started_with(refit.name, input_hash),
        "evaluation": bool(refit_metrics(run.folder)) and (early or not run.is_done(refit.name, input_hash)),
    }
    return tuple(name for name, holds in outdated.items() if holds)


def preflight(config: Config, models: bool = True) -> None:
    """Refuses what cannot work before any model is loaded: model name, tokenizer, template, attention, DeepSpeed.

    `models` says whether the command loads a model; one that does not may run where there is no GPU.
    """
    import torch

    from forgetfilter.data.rendering import check_template
    from forgetfilter.models import vllm_engine
    from forgetfilter.models.settings import ModelSettings
    from forgetfilter.process.launch import LAUNCHER

    model = ModelSettings.of(config)
    if config.launch.nodes > 1 and not os.environ.get(LAUNCHER):
        raise UserError(f"launch.nodes is {config.launch.nodes}: submit with sbatch slurm/run_forgetfilter.sh")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda" and config.launch.processes > torch.cuda.device_count():
        raise UserError(
            f"launch.processes is {config.launch.processes}, but there are {torch.cuda.device_count()} GPUs"
        )
    check_settings(config)
    if config.eval.backend == "vllm":
        vllm_engine.require()
    if models:
        attention = model.on(device).attention
        if model.attention == "auto" and attention == "eager":
            console.print("model.attention: auto takes eager, the only one that this model has here")
        check_whole_model(config, model.base().path, attention)
    check_template(model.tokenizer(), config.eval.system_prompt)


def check_settings(config: Config) -> None:
    """Refuses settings with which a stage cannot work; other models that the scoring asks are fetched."""
    from forgetfilter.models.prepare import find_other_models
    from forgetfilter.process.tracking import check

    check(config.tracking)
    for stage in stages_of(config):
        if stage.wanted(config):
            stage.check(config)
    find_other_models(config.score)


def check_whole_model(config: Config, base: Path, attention: str) -> None:
    """Refuses a model whose weights are not whole, whose losses are not exact, or that has no room for answers."""
    from forgetfilter.models.preflight import check_answers_fit, check_model

    adapted = config.train.method != "full" and not config.only_evaluates
    check_model(base, attention, config.data.packing, config.train.lora.target_modules if adapted else None)
    answers = {"eval.max_new_tokens": config.eval.max_new_tokens}
    answers |= {"score.max_new_tokens": config.score.max_new_tokens} if config.score.rouge else {}
    check_answers_fit(base, answers)
