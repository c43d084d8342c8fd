"""`forgetfilter completion SHELL`: prints a script by which a shell completes commands, options and files."""

import argparse
from functools import partial

from forgetfilter.cli.parser import Commands, Parser

SHELLS = ("bash", "zsh", "fish")
LOAD = """How a shell takes it:
  bash  source <(forgetfilter completion bash)                    (in ~/.bashrc)
  zsh   forgetfilter completion zsh > FOLDER/_forgetfilter        (a FOLDER of $fpath, before compinit)
  fish  forgetfilter completion fish > ~/.config/fish/completions/forgetfilter.fish
"""
FILES = ("CONFIG", "FILE", "FOLDER", "RUN", "BEFORE", "A")  # what stands for a file or a folder in the usage


def add(commands: Commands, parser: Parser) -> None:
    """Adds the command, which completes what `parser` takes."""
    command = commands.add_parser("completion", help="print what completes commands in bash, zsh or fish")
    command.description = LOAD
    command.add_argument("shell", choices=SHELLS)
    command.set_defaults(work=partial(_work, parser))


def _work(parser: Parser, options: argparse.Namespace) -> None:
    import shtab

    for command in _commands(parser):
        for action in command._actions:
            named = action.metavar if isinstance(action.metavar, tuple) else (action.metavar,)
            if set(named) & set(FILES):
                vars(action)["complete"] = shtab.FILE
    print(shtab.complete(parser, options.shell))


def _commands(parser: Parser) -> list[argparse.ArgumentParser]:
    (choices,) = (one.choices for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return list(choices.values())
