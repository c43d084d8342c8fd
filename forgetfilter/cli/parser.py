"""The parser of the command line, and the place to which each command adds itself."""

import argparse
from typing import NoReturn, TypeAlias

from forgetfilter.errors import EXIT_USER, masked


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, as all other mistakes are reported."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USER, f"forgetfilter: {masked(message)}; see forgetfilter --help\n")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # its class takes no type in brackets when it runs
