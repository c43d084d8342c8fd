"""What every malformed input must come to: exit code 2 and one line that can be printed, with no traceback."""

import contextlib
import io
from collections.abc import Callable
from typing import Any

from forgetfilter.process.exit_codes import exit_code_of


def one_line(work: Callable[[], Any]) -> str:
    """The line that a command which does this work says. Whatever is no mistake of the user's is raised as it is."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = exit_code_of(work)
    (line,) = said.getvalue().splitlines()
    assert code == 2 and line.isprintable() and line.startswith("forgetfilter: "), line
    return line
