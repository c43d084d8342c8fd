"""The way in: `forgetfilter COMMAND ...`."""

from forgetfilter.cli.commands import main

__all__ = ["main"]
