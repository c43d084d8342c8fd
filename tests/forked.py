"""Processes that are forked from one in which torch and its like are imported already, so that each starts at once.

`python -m MODULE` imports for ten seconds before it works. tests/process/test_launch.py starts ranks so, and so does
each test that asks for the fixture `real_ranks`.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import reduction
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO, Any

from forgetfilter import cli
from forgetfilter.process.exit_codes import ASIDE, exit_code_of

os.environ.setdefault("DS_ACCELERATOR", "cpu")  # as every rank sets it before DeepSpeed is there
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [f"forgetfilter.{stage}.__main__" for stage in ("train", "score", "eval")]
    + ["transformers.models.llama.modeling_llama", "peft", "deepspeed", "sklearn", "forked"]
    + ["wandb.sdk.launch.inputs.internal"]  # which each run of W&B imports
)


class _Passed:
    """A descriptor of this process, and in the started process the one that it has there."""

    def __init__(self, number: int):
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.number),)


def _received(sent: Any) -> _Passed:
    return _Passed(sent.detach())


def start(
    work: Callable[..., None], *args: Any, out: int = 1, error: int = 2, env: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """Starts a process that does the work, a function of a module, and prints to these descriptors of this process."""
    environment = dict(os.environ if env is None else env)
    process = CONTEXT.Process(target=_work, args=(work, args, environment, _Passed(out), _Passed(error)))
    process.start()
    return process


def _work(
    work: Callable[..., None], args: Sequence[Any], environment: dict[str, str], out: _Passed, error: _Passed
) -> None:
    os.setpgrp()
    os.environ.clear()
    os.environ |= environment
    os.dup2(out.number, 1)
    os.dup2(error.number, 2)
    work(*args)


def command(
    *words: str | Path, path: Sequence[Path] = (), env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`forgetfilter WORDS` in a process of its own, where the packages of the folders in `path` are installed."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
        given = [str(word) for word in words]
        process = start(_command, given, [str(one) for one in path], out=out.fileno(), error=error.fileno(), env=env)
        process.join()
        said = [file.seek(0) or file.read() for file in (out, error)]
    return subprocess.CompletedProcess(given, process.exitcode or 0, *said)


def _command(words: list[str], path: list[str]) -> None:
    sys.path[:0] = path
    cli.main(words)


def killed_at(rename: int, words: list[str]) -> None:
    """The command, with kill -9 just before it puts a file in place for the time `rename`, counted from 0."""
    replace, left = os.replace, iter(range(rename))

    def counted(*paths: Any) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)

    os.replace = counted
    cli.main(words)


class ForkedRank:
    """Stands for subprocess.Popen of `python -m MODULE ARGS` with the descriptor ASIDE passed on."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        stderr: IO[str] | None,
        pass_fds: Sequence[int],
        process_group: int,
    ):
        aside = _Passed(pass_fds[0])
        self._process = start(_rank, command[2:], aside, error=stderr.fileno() if stderr else 2, env=env)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid or 0, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _rank(command: Sequence[str], aside: _Passed) -> None:
    os.environ[ASIDE] = str(aside.number)
    module, *args = command
    sys.argv = list(command)
    sys.exit(exit_code_of(lambda: importlib.import_module(module).main(args)))
