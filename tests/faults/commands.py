"""Commands in processes of their own, started by the server that forks them."""

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Server:
    """The process that forks commands (server.py)."""

    def __init__(self, folder: Path):
        self._folder = folder
        here = Path(__file__).resolve()
        environment = os.environ | {"PYTHONPATH": str(here.parents[1])}
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "PYTEST_CURRENT_TEST"):
            environment.pop(name, None)
        with open(folder / "server.log", "w") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(here.with_name("server.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        assert self._process.stdout and self._process.stdout.readline() == "ready\n", (
            folder / "server.log"
        ).read_text()

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@dataclass
class Command:
    """A command that runs, or has run."""

    server: Server
    process: int
    said: Path

    def end(self) -> int | None:
        """Its exit code; None where it never ends."""
        code: int | None = self.server.ask(wait=self.process)
        return code

    def lines(self) -> list[str]:
        """What it said to the user, beside the progress."""
        text = self.said.read_text(errors="replace")
        return [line for line in text.splitlines() if line.startswith("forgetfilter: ")]

    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.said.read_text(errors="replace")


def alive(process: int) -> bool:
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []
