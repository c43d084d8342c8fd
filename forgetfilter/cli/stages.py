"""The commands that run the pipeline or one of its stages: run, mix, train, score, filter, eval and report."""

import argparse
import shlex
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from forgetfilter.cli import from_logs, plan
from forgetfilter.cli.closing import close, end
from forgetfilter.cli.earlier import check_earlier
from forgetfilter.cli.parser import Commands
from forgetfilter.config.load import load_config
from forgetfilter.config.schema import Config
from forgetfilter.errors import UserError
from forgetfilter.storage.results import MODELS
from forgetfilter.storage.run_folder import Run, config_of, folder_of, no_idle_folder
from forgetfilter.storage.run_lock import held
from forgetfilter.storage.stage import Answering, Comparison, Logging, load

STAGES = {
    "mix": "read or mix the noisy and safe sets into the run folder",
    "train": "finetune in all training stages, or in those that are named (noisy, safe, control, refit)",
    "score": "compute each noisy example's loss before and after the safe finetuning",
    "filter": "drop the rows that were forgotten most; takes a run folder too, and needs no model or GPU",
    "eval": "measure toxicity, bias, harmfulness and the task for each model",
    "report": "write report.html and card.json; takes a run folder too",
}

# The settings that a command takes on a run folder, which has all others. Slurm's script adds launch to every command.
TAKEN = {"filter": ("filter.", "tracking.", "launch."), "report": ("launch.",)}


def add(commands: Commands) -> None:
    """The commands' places in the command line."""
    run = commands.add_parser("run", help="run the whole pipeline; the last line of stdout is the run folder")
    run.set_defaults(work=_run)
    words = "only train a few steps twice, and tell whether the same seed gives the same model; keeps nothing of it"
    run.add_argument("--check-determinism", action="store_true", help=words)
    works = {"filter": _filter, "eval": _eval, "report": _report}
    made = {name: commands.add_parser(name, help=text) for name, text in STAGES.items()}
    for name, command in made.items():
        command.set_defaults(work=works.get(name, _stages))
    _add_questions(made["filter"])
    from_logs.add(made["filter"])
    made["report"].add_argument("--reveal", action="store_true", help="show the dropped texts unmasked")
    text = "show paired differences between two evaluated RUNs or RUN:MODELs, or MODELs of the given run folder"
    asked = made["eval"].add_mutually_exclusive_group()
    asked.add_argument("--compare", nargs=2, metavar=("A", "B"), help=text)
    text = "write what is stored of each model and suite into this folder, as logs that `inspect view` opens"
    asked.add_argument("--inspect-log", type=Path, metavar="FOLDER", help=text)


def _add_questions(command: argparse.ArgumentParser) -> None:
    command.add_argument("--sweep", action="store_true", help="show what each setting of the rule would drop")
    command.add_argument("--why", metavar="ID", help="tell why this example was dropped or kept")
    words = "write review.csv with the N examples that were forgotten most (default: 1000)"
    command.add_argument("--review", nargs="?", type=plan.count, const=1000, metavar="N", help=words)
    command.add_argument("--reveal", action="store_true", help="with --why or --review, show the texts unmasked")
    command.add_argument("--json", action="store_true", help="with --sweep or --why, answer in JSON")


def _stages(options: argparse.Namespace) -> None:
    """mix, train and score."""
    from forgetfilter import pipeline

    names = _named_stages(options, pipeline.BY_NAME)
    with _opened(options, names) as run:
        _begin(run.config, models=options.command != "mix")
        _make(run, names)
        end(options.command, run.folder, [options.command, *(name.removeprefix("train-") for name in names)])


def _filter(options: argparse.Namespace) -> None:
    """Decides, or answers a question about the decision that is there."""
    from forgetfilter import pipeline

    from_logs.check(options)
    if options.logs:
        run = from_logs.decide(options)
        close("filter", run.folder, pipeline.stale(run))
        return
    names = _named_stages(options, {"filter"})
    _check_question(options)
    with _opened(options, names, alone=options.why is None) as run:
        if options.sweep or options.why is not None or options.review is not None:
            stage = pipeline.BY_NAME["filter"]
            pipeline.check_read(run.folder, "filter", [*stage.reads, stage.name])
            task = stage.task(run)
            assert isinstance(task, Answering)
            task.answer(options.sweep, options.why, options.review, options.reveal, options.json)
            return
        _make(run, names)
        close("filter", run.folder, pipeline.stale(run))  # an earlier evaluation is stale


def _eval(options: argparse.Namespace) -> None:
    from forgetfilter import pipeline

    if options.compare:
        _compare(options)
        return
    if options.inspect_log:
        _log(options)
        return
    names = _named_stages(options, {"eval"})
    with _opened(options, names) as run:
        _begin(run.config)
        _make(run, ["mix", "eval", "report"] if run.config.only_evaluates else names)
        close("eval", run.folder, pipeline.stale(run))


def _report(options: argparse.Namespace) -> None:
    from forgetfilter import pipeline

    names = _named_stages(options, {"report"})
    with _opened(options, names) as run:
        if options.reveal:
            from forgetfilter.report.stage import READS, settings

            pipeline.check_read(run.folder, "report", READS)
            print(settings(run, pipeline.stale(run)).write(reveal=True))
            pipeline.note_sums(run.folder, pipeline.BY_NAME["report"])
            return
        _make(run, names)
        end("report", run.folder, ["report"])


def _begin(config: Config, models: bool = True) -> None:
    """What comes before stages that may take long: signals are noted, and what can be checked is."""
    from forgetfilter import pipeline
    from forgetfilter.process import interrupts

    interrupts.install()
    pipeline.preflight(config, models=models)


def _make(run: Run, names: Sequence[str]) -> None:
    """Runs the stages, and makes the page again where it would show earlier results.

    A report takes seconds and may show texts, so it is made again. Outputs that are gone are made again only for a
    stage that is named.
    """
    from forgetfilter import pipeline

    for name in names:
        again = name == "report" or not all((run.folder / output).exists() for output in pipeline.BY_NAME[name].outputs)
        pipeline.run_stage(run, pipeline.BY_NAME[name], again)
    shown = "report" not in names and (run.folder / "report.html").exists()
    if shown and {"filter", "train-refit", "eval"} & {*names}:
        pipeline.run_stage(Run.open(run.folder), pipeline.BY_NAME["report"])


def _run(options: argparse.Namespace) -> None:
    from forgetfilter import pipeline
    from forgetfilter.process import interrupts

    interrupts.install()  # a signal between two stages with ranks must not end the process
    if options.check_determinism:
        from forgetfilter.cli.determinism import check_determinism

        config = config_of(Path(options.target), options.overrides)
        pipeline.preflight(config)
        print(check_determinism(config))
        return
    with _opened(options) as run:
        pipeline.run_pipeline(run)
        close("run", run.folder, pipeline.stale(run))


@contextmanager
def _opened(options: argparse.Namespace, names: Sequence[str] = (), alone: bool = True) -> Iterator[Run]:
    """The run of a config file, which is made or reopened, or of a run folder, of which only filter settings may
    change.

    `names`: the stages that are to be run without the earlier ones; these must be as the config file has them. With
    `alone` no other process may work on the run meanwhile; it is false for commands that only read.
    """
    target = Path(options.target)
    if not target.is_dir():
        config = load_config(target, options.overrides)
        with no_idle_folder(folder_of(config)), held(folder_of(config)):
            yield Run.create(
                config, options.resume, partial(check_earlier, config, names, [str(target), *options.overrides])
            )
        return
    if foreign := [given for given in options.overrides if not given.startswith(TAKEN.get(options.command, ()))]:
        but = "only filter.KEY=VALUE can be given here; " if options.command == "filter" else ""
        way = "to change its settings give the config file, and --resume"
        raise UserError(f"{foreign[0]!r}: {target} is a run folder: {but}{way}")
    run = Run.open(target, options.overrides if options.command == "filter" else [])
    with held(target) if alone else nullcontext():
        yield run


def _named_stages(options: argparse.Namespace, known: Container[str]) -> list[str]:
    """The stages that the command names; the words that name them are taken out of the overrides."""
    words = [word for word in options.overrides if "=" not in word]
    options.overrides = [word for word in options.overrides if "=" in word]
    trains = options.command == "train"
    names = (
        [f"train-{word}" for word in words or ["noisy", "safe", "control", "refit"]] if trains else [options.command]
    )
    if unknown := [name for name in names if name not in known] or (words if not trains else []):
        raise UserError(f"{unknown[0].removeprefix('train-')!r} is neither a stage nor key=value")
    return names


def _check_question(options: argparse.Namespace) -> None:
    """UserError where --why or --review would ignore settings, or --reveal has nothing to show."""
    asked = next((name for name in ("why", "review") if getattr(options, name) is not None), None)
    if asked and (given := [word for word in options.overrides if word.startswith("filter.")]):
        raise UserError(f"--{asked} reads the decision that is there: give {given[0]} without it first")
    if options.reveal and not asked:
        raise UserError("--reveal shows the texts of --why and --review: give one of them")
    if options.json and (options.review is not None or options.sweep == (options.why is not None)):
        raise UserError("--json answers --sweep or --why: give one of them")


def _compare(options: argparse.Namespace) -> None:
    if options.overrides:
        raise UserError(f"--compare takes no settings, got {options.overrides[0]!r}: it reads what eval has stored")
    if options.target and not Path(options.target).is_dir():
        raise UserError(f"--compare: {options.target} is no run folder")
    print(load("forgetfilter.eval.compare:COMPARISON", Comparison).work(tuple(options.compare), options.target))


def _log(options: argparse.Namespace) -> None:
    from forgetfilter import pipeline
    from forgetfilter.process.progress import console

    if not Path(options.target).is_dir():
        raise UserError(f"--inspect-log reads a run folder, and {options.target} is none")
    with _opened(options, alone=False) as run:
        pipeline.check_read(run.folder, "eval", ["eval"])
        task = pipeline.BY_NAME["eval"].task(run)
        assert isinstance(task, Logging)
        early = "evaluation" in pipeline.stale(run)
        if early:
            console.print("left out: the answers of refit, which are of an earlier decision")
        written = task.log([model for model in MODELS if model != "refit" or not early], options.inspect_log)
        console.print(f"{len(written)} logs, with texts as they are, unsafe ones too", soft_wrap=True)
        console.print(
            f"to look at them: inspect view --log-dir {shlex.quote(str(options.inspect_log))}", soft_wrap=True
        )
        print(options.inspect_log)
