"""forgetfilter COMMAND CONFIG [key=value ...]"""

import argparse
import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NoReturn

from forgetfilter import __version__
from forgetfilter.cli import chat, completion, copies, export, from_logs, init, plan
from forgetfilter.cli.closing import close, end
from forgetfilter.cli.examples import EXAMPLES
from forgetfilter.cli.studies import run_study
from forgetfilter.config.bounds import PATH, can_be_path
from forgetfilter.config.load import load_config, to_yaml
from forgetfilter.errors import EXIT_USER, UserError, masked, plain_label
from forgetfilter.process.exit_codes import exit_code_of
from forgetfilter.process.progress import silence
from forgetfilter.storage import sums
from forgetfilter.storage.run_folder import Run, config_of, folder_of, no_idle_folder
from forgetfilter.storage.run_lock import held
from forgetfilter.storage.stage import Answering, Comparison, load

STAGES = {
    "mix": "read or mix the noisy and safe sets into the run folder",
    "train": "finetune in all training stages, or in those that are named (noisy, safe, control, refit)",
    "score": "compute each noisy example's loss before and after the safe finetuning",
    "filter": "drop the rows that were forgotten most; takes a run folder too, and needs no model or GPU",
    "eval": "measure toxicity, bias, harmfulness and the task for each model",
    "report": "write report.html and card.json; takes a run folder too",
}

STUDIES = {
    "compare": "compare defences over seeds: run the pending cells and gather the tables",
    "scale": "run the pipeline for each model and seed that is pending, and gather the curve",
}


def main(argv: list[str] | None = None) -> None:
    """The command line. It exits with 0, 2 (a mistake of the user), 75 (stopped with all saved) or 1 (our bug)."""
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if options.command == "eval" and not (options.target or options.compare):
        parser.error("eval needs a CONFIG, or --compare A B")
    if options.command == "filter" and options.logs:  # there is no CONFIG before the settings
        options.overrides, options.target = [*filter(None, [options.target]), *options.overrides], None
    elif options.command == "filter" and not options.target:
        parser.error("filter needs a CONFIG or a run folder, or --from BEFORE AFTER")
    if options.command == "config" and not (options.target or options.describe):
        parser.error("config needs a CONFIG, or --describe")
    for given in [getattr(options, "target", None), *(getattr(options, "compare", None) or ())]:
        if given and not can_be_path(given):
            parser.error(f"{plain_label(given)} must {PATH.name}")
    stages = options.command == "train"  # it takes the names of stages too
    unknown = any(word.startswith("-") or ("=" not in word and not stages) for word in rest)
    if unknown or (rest and not hasattr(options, "overrides")):
        parser.error(f"unknown argument {rest[0]!r}")
    if rest:  # key=value after an option; argparse takes positional words only where they stand together
        options.overrides = [*options.overrides, *rest]
    if options.quiet:
        silence()
    raise SystemExit(exit_code_of(lambda: options.work(options)))


class _Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, as all other mistakes are reported."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USER, f"forgetfilter: {masked(message)}; see forgetfilter --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="forgetfilter", description="Finetune on noisy data without what is unsafe in it.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the whole pipeline; the last line of stdout is the run folder")
    run.set_defaults(work=_run)
    words = "only train a few steps twice, and tell whether the same seed gives the same model; keeps nothing of it"
    run.add_argument("--check-determinism", action="store_true", help=words)
    for name, text in STAGES.items():
        stage = commands.add_parser(name, help=text)
        stage.set_defaults(work=_stage)
        if name == "filter":
            stage.add_argument("--sweep", action="store_true", help="show what each setting of the rule would drop")
            stage.add_argument("--why", metavar="ID", help="tell why this example was dropped or kept")
            words = "write review.csv with the N examples that were forgotten most (default: 1000)"
            stage.add_argument("--review", nargs="?", type=plan.count, const=1000, metavar="N", help=words)
            stage.add_argument("--reveal", action="store_true", help="with --why or --review, show the texts unmasked")
            stage.add_argument("--json", action="store_true", help="with --sweep or --why, answer in JSON")
            from_logs.add(stage)
        if name == "report":
            stage.add_argument("--reveal", action="store_true", help="show the dropped texts unmasked")
        if name == "eval":
            text = "show paired differences between two evaluated RUNs or RUN:MODELs, or MODELs of the given run folder"
            stage.add_argument("--compare", nargs=2, metavar=("A", "B"), help=text)

    for name, text in STUDIES.items():
        study = commands.add_parser(name, help=text)
        study.set_defaults(work=run_study)
        parts = study.add_mutually_exclusive_group()
        parts.add_argument("--list", action="store_true", help="only show the status of each member")
        parts.add_argument("--pending", action="store_true", help="only print the study's name and its pending members")
        parts.add_argument("--member", type=int, metavar="N", help="only run this member")
        parts.add_argument("--gather", action="store_true", help="only gather the results that are there")
    plan.add(commands)
    show = commands.add_parser("config", help="print the resolved config")
    show.set_defaults(work=_config)
    words = "print every setting with its type, default, bounds and meaning; needs no CONFIG"
    show.add_argument("--describe", action="store_true", help=words)
    verify = commands.add_parser("verify", help="check every file of a run folder against its sum")
    verify.set_defaults(work=_verify)
    doctor = commands.add_parser("doctor", help="tell what this machine has, and what is missing for which setting")
    doctor.set_defaults(work=_doctor)
    doctor.add_argument("--json", action="store_true", help="the same as JSON")
    completion.add(commands, parser)
    _add_shared(commands)
    return parser


def _add_shared(commands: "argparse._SubParsersAction[_Parser]") -> None:
    """What several commands take, the commands that have files of their own, and what all of them have."""
    for name, command in commands.choices.items():
        if name in ("doctor", "completion"):
            continue
        # --compare, --describe and --from need no target
        alone = "?" if name in ("eval", "config", "filter") else None
        command.add_argument("target", nargs=alone, metavar="CONFIG", help="YAML file, or a run folder")
        command.add_argument("overrides", nargs="*", metavar="key=value", help="settings that override the file's")
        command.add_argument("--resume", action="store_true", help="accept changed settings, and redo what they change")
    for further in (init, copies, export, chat):
        further.add(commands)
    for name, command in commands.choices.items():
        command.add_argument("--quiet", action="store_true", help="print the result and errors alone")
        command.formatter_class, command.epilog = argparse.RawDescriptionHelpFormatter, f"example:\n  {EXAMPLES[name]}"


# The settings that a command takes on a run folder, which has all others. Slurm's script adds launch to every command.
TAKEN = {"filter": ("filter.", "tracking.", "launch."), "report": ("launch.",)}


@contextmanager
def _opened(options: argparse.Namespace, alone: bool = True) -> Iterator[Run]:
    """The run of a config file, which is made or reopened, or of a run folder, of which only filter settings may
    change.

    With `alone` no other process may work on the run meanwhile; it is false for commands that only read.
    """
    target = Path(options.target)
    if not target.is_dir():
        config = load_config(target, options.overrides)
        with no_idle_folder(folder_of(config)), held(folder_of(config)):
            yield Run.create(config, options.resume)
        return
    if foreign := [given for given in options.overrides if not given.startswith(TAKEN.get(options.command, ()))]:
        but = "only filter.KEY=VALUE can be given here; " if options.command == "filter" else ""
        way = "to change its settings give the config file, and --resume"
        raise UserError(f"{foreign[0]!r}: {target} is a run folder: {but}{way}")
    run = Run.open(target, options.overrides if options.command == "filter" else [])
    with held(target) if alone else nullcontext():
        yield run


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
        close("run", run.folder, pipeline.stale(run), run.config.only_evaluates)


def _stage(options: argparse.Namespace) -> None:
    from forgetfilter import pipeline
    from forgetfilter.process import interrupts

    if options.command == "eval" and options.compare:
        _compare(options)
        return
    if options.command == "filter":
        from_logs.check(options)
    if options.command == "filter" and options.logs:
        run = from_logs.decide(options)
        close("filter", run.folder, pipeline.stale(run))
        return
    command, by_name = options.command, {stage.name: stage for stage in pipeline.STAGES}
    names = _named_stages(options, by_name)
    if command == "filter":
        _check_question(options)
    with _opened(options, alone=command != "filter" or options.why is None) as run:
        if command == "report" and options.reveal:
            from forgetfilter.report.stage import settings

            print(settings(run, pipeline.stale(run)).write(reveal=True))
            pipeline.note_sums(run.folder, by_name["report"])
            return
        if command == "filter" and (options.sweep or options.why is not None or options.review is not None):
            task = by_name["filter"].task(run)
            assert isinstance(task, Answering)
            task.answer(options.sweep, options.why, options.review, options.reveal, options.json)
            return
        if command not in ("filter", "report"):
            interrupts.install()
            pipeline.preflight(run.config, models=command != "mix")
        if run.config.only_evaluates and command == "eval":
            names = ["mix", "eval", "report"]
        for name in names:
            # A report takes seconds and may show texts, so it is made again. Outputs that are gone are made again only
            # for a stage that is named.
            again = name == "report" or not all((run.folder / output).exists() for output in by_name[name].outputs)
            pipeline.run_stage(run, by_name[name], again)
        shown = "report" not in names and (run.folder / "report.html").exists()
        if shown and {"filter", "train-refit", "eval"} & {*names}:
            pipeline.run_stage(Run.open(run.folder), by_name["report"])  # otherwise it would show the earlier results
        if command in ("filter", "eval"):  # after filter, an earlier evaluation does not belong to the decision
            close(command, run.folder, pipeline.stale(run), run.config.only_evaluates)
        else:
            end(command, run.folder, [command, *(name.removeprefix("train-") for name in names)])


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
    print(load("forgetfilter.eval.stage:COMPARISON", Comparison).work(tuple(options.compare), options.target))


def _config(options: argparse.Namespace) -> None:
    if options.describe:
        from forgetfilter.config.describe import describe

        sys.stdout.write(describe())
        return
    sys.stdout.write(to_yaml(config_of(Path(options.target), options.overrides)))


def _verify(options: argparse.Namespace) -> None:
    print("\n".join(sums.verify(Run.open(Path(options.target)).folder)))


def _doctor(options: argparse.Namespace) -> None:
    from forgetfilter.cli.doctor import examine

    examine(options.json)
