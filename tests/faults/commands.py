"""Commands in processes of their own, disturbed if asked to."""

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from forked import start

PATIENCE = 600  # seconds, after which a command counts as one that never ends


class Command:
    """A command that runs, or has run, and leads a process group of its own."""

    def __init__(self, argv: list[str], fault: dict[str, Any] | None, said: Path):
        self.said = said
        with open(said, "ab") as file:
            self._process = start(_command, argv, fault, out=file.fileno(), error=file.fileno())
        self.process = self._process.pid or 0

    def end(self) -> int | None:
        """Its exit code; None where it did not end in time, and was killed."""
        self._process.join(PATIENCE)
        if self._process.exitcode is None:
            os.killpg(self.process, signal.SIGKILL)
        return self._process.exitcode

    def lines(self) -> list[str]:
        """What it said to the user, beside the progress."""
        text = self.said.read_text(errors="replace")
        return [line for line in text.splitlines() if line.startswith("forgetfilter: ")]

    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.said.read_text(errors="replace")


def _command(argv: list[str], fault: dict[str, Any] | None) -> None:
    from faults import injected

    from forgetfilter import cli

    if fault:
        injected.install(**fault)
    code = 1
    try:
        cli.main(argv)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def alive(process: int) -> bool:
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []
