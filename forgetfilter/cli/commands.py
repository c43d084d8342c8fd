"""forgetfilter COMMAND CONFIG [key=value ...]"""

import argparse
import io
import sys
from pathlib import Path

from forgetfilter import __version__
from forgetfilter.cli import chat, completion, copies, export, init, plan, stages
from forgetfilter.cli.examples import EXAMPLES
from forgetfilter.cli.parser import Commands, Parser
from forgetfilter.cli.studies import run_study
from forgetfilter.config.bounds import PATH, can_be_path
from forgetfilter.config.load import to_yaml
from forgetfilter.errors import plain_label
from forgetfilter.process.exit_codes import exit_code_of
from forgetfilter.process.progress import silence
from forgetfilter.storage import sums
from forgetfilter.storage.run_folder import Run, config_of

STUDIES = {
    "compare": "compare defences over seeds: run the pending cells and gather the tables",
    "scale": "run the pipeline for each model and seed that is pending, and gather the curve",
}


def main(argv: list[str] | None = None) -> None:
    """The command line. It exits with 0, 2 (a mistake of the user), 75 (stopped with all saved) or 1 (our bug)."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # stderr does so by itself
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may not know each character of a name or a path
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
    named = options.command == "train"  # it takes the names of stages too
    unknown = any(word.startswith("-") or ("=" not in word and not named) for word in rest)
    if unknown or (rest and not hasattr(options, "overrides")):
        parser.error(f"unknown argument {rest[0]!r}")
    if rest:  # key=value after an option; argparse takes positional words only where they stand together
        options.overrides = [*options.overrides, *rest]
    if options.quiet:
        silence()
    raise SystemExit(exit_code_of(lambda: options.work(options)))


def _parser() -> Parser:
    parser = Parser(prog="forgetfilter", description="Finetune on noisy data without what is unsafe in it.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    stages.add(commands)
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
    verify.add_argument("--json", action="store_true", help="the same as JSON")
    doctor = commands.add_parser("doctor", help="tell what this machine has, and what is missing for which setting")
    doctor.set_defaults(work=_doctor)
    doctor.add_argument("--json", action="store_true", help="the same as JSON")
    completion.add(commands, parser)
    _add_shared(commands)
    return parser


def _add_shared(commands: Commands) -> None:
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


def _config(options: argparse.Namespace) -> None:
    if options.describe:
        from forgetfilter.config.describe import describe

        sys.stdout.write(describe())
        return
    sys.stdout.write(to_yaml(config_of(Path(options.target), options.overrides)))


def _verify(options: argparse.Namespace) -> None:
    print("\n".join(sums.verify(Run.open(Path(options.target)).folder, options.json)))


def _doctor(options: argparse.Namespace) -> None:
    from forgetfilter.cli.doctor import examine

    examine(options.json)
