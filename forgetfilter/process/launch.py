"""Starts the work of a stage: in this process if one rank without DeepSpeed is enough, else in several ranks.

The ranks of one machine are started directly, so that their exit codes, one-line errors and signals come through
unchanged. On several machines the command in FORGETFILTER_LAUNCHER starts them (slurm/run_forgetfilter.sh sets it to
srun and torchrun). Such a launcher reports only success or failure, so each rank leaves its outcome as a file in the
run folder.
"""

import contextlib
import importlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from forgetfilter.errors import EXIT_LOST, EXIT_STOPPED, EXIT_USER, EXIT_WAITED, Stopped, UserError, masked
from forgetfilter.process import interrupts
from forgetfilter.process.exit_codes import ASIDE, OUTCOMES

LAUNCHER = "FORGETFILTER_LAUNCHER"
KILLED = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)  # the exit codes of a rank that was killed from outside
LOST = {0, EXIT_STOPPED, EXIT_LOST, EXIT_WAITED, *KILLED}  # of ranks that have no fault of their own
AGAIN_SECONDS = 1  # between two warnings to the ranks, because a rank that is still starting does not listen yet
GRACE_SECONDS = 30  # once a rank has failed, between asking the others to end and killing them


def launch(
    module: str, args: list[str], processes: int, threads: int, needs_group: bool = False, nodes: int = 1
) -> None:
    """Runs `module`'s main(args) on `processes` ranks of each of the nodes.

    Raises what a rank raised (UserError, Stopped, RuntimeError), and Stopped if a rank was lost.
    """
    if processes * nodes == 1 and not needs_group:
        if threads:
            import torch

            torch.set_num_threads(threads)
        importlib.import_module(module).main(args)
        return
    if os.environ.get(LAUNCHER):
        _launch_everywhere(module, args, threads or _threads(processes))
        return
    import torch.distributed as dist

    # The ranks meet at a store of this process, because a free port given to rank 0 could be taken before it starts.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    # Files take the place of pipes, at which a rank that prints much would wait for a reader.
    said: list[IO[str]] = [tempfile.TemporaryFile("w+") for _ in range(processes)]  # of rank 0 only what it puts aside
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", module, *args],
            env=_environment(rank, processes, store.port, threads) | {ASIDE: str(said[rank].fileno())},
            stderr=None if rank == 0 else said[rank],
            pass_fds=[said[rank].fileno()],
            process_group=0,  # Ctrl-C reaches a rank only once, forwarded from here: a second one ends it unsaved
        )
        for rank in range(processes)
    ]
    with _forwarding_signals(ranks):
        first = _wait(ranks)
    _judge(module, [int(rank.returncode) for rank in ranks], first, said)


def _judge(module: str, codes: list[int], first: list[int], said: list[IO[str]]) -> None:
    """Raises what the exit codes of the ranks mean; `first` are those that failed by themselves."""
    # ranks that were asked to stop because another one failed exit 75 as well, so a failure must win
    failed = [number for number, code in enumerate(codes) if code not in (0, EXIT_STOPPED)]
    killed = [number for number in first if codes[number] in KILLED]
    if killed and EXIT_USER not in codes:
        raise Stopped(
            f"rank {killed[0]} of {module} was killed ({signal.Signals(-codes[killed[0]]).name}; SIGKILL is what a "
            "machine out of memory sends); run the same command again to go on from what was saved"
        )
    if EXIT_WAITED in [codes[number] for number in first] and set(codes) <= LOST:
        silent = [number for number in failed if codes[number] in KILLED]  # it did not end when it was asked to
        which = f"rank {silent[0]}" if silent else "a rank"
        way = "run the same command again to go on from what was saved"
        raise Stopped(f"{which} of {module} was silent for longer than launch.timeout; {way}")
    if failed:
        # a rank that fails, by the user's mistake or by a bug, makes the others crash in their next collective
        caused = (EXIT_LOST, EXIT_WAITED, -signal.SIGTERM)  # failures that a lost peer or this process caused
        number = min(failed, key=lambda number: (codes[number] != EXIT_USER, codes[number] in caused))
        _raise(module, number, codes[number], said[number])
    if EXIT_STOPPED in codes:
        raise interrupts.stopped(module)


def _launch_everywhere(module: str, args: list[str], threads: int) -> None:
    """Starts ranks on all nodes by the launcher; `args[0]` is the run folder, which every node sees."""
    interrupts.stop_if_requested(f"before {module}: the run")
    command = [*shlex.split(os.environ[LAUNCHER]), "-m", module, *args]
    with tempfile.TemporaryDirectory(prefix=".ranks-", dir=args[0], ignore_cleanup_errors=True) as folder:
        environment = os.environ | {OUTCOMES: folder, "OMP_NUM_THREADS": str(threads)}  # torchrun would say 1
        process = subprocess.Popen(command, env=environment, process_group=0)
        warned: list[int] = []

        def note(number: int, frame: Any) -> None:
            warned.append(number)
            interrupts.remember(number)

        # srun would end its ranks after TERM or INT, but it passes USR1 on to them
        previous = {number: signal.signal(number, note) for number in interrupts.caught()}
        try:
            _wait_warning(process, warned)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        codes = {int(path.suffix[1:]) for path in Path(folder).glob("rank-*")}
    if EXIT_USER in codes:
        raise UserError("")  # the rank has said it
    if EXIT_STOPPED in codes or (warned and process.returncode):
        raise interrupts.stopped(module)
    if process.returncode and 1 not in codes:
        raise Stopped(f"{module}: a rank or node was lost; run the same command again to go on from what was saved")
    if process.returncode:
        raise RuntimeError(f"a rank of {module} failed: its traceback is above")


def _wait_warning(process: "subprocess.Popen[bytes]", warned: list[int]) -> None:
    """Waits until the launcher has ended. After a warning it warns the ranks again and again."""
    next_warning = 0.0
    while process.poll() is None:
        if warned and time.monotonic() > next_warning:
            process.send_signal(signal.SIGUSR1)
            next_warning = time.monotonic() + AGAIN_SECONDS
        time.sleep(0.1)


def _raise(module: str, number: int, code: int, said: IO[str]) -> None:
    said.seek(0)
    text = said.read().strip()
    if code == EXIT_USER:
        lines = [line for line in text.splitlines() if line.startswith("forgetfilter: ")]  # libraries print lines too
        raise UserError(lines[-1].removeprefix("forgetfilter: ") if lines else "")  # rank 0 has printed its own line
    if text:
        print(masked(text), file=sys.stderr)
    raise RuntimeError(f"rank {number} of {module} failed with exit code {code}")


def _wait(ranks: list["subprocess.Popen[bytes]"]) -> list[int]:
    """Waits until all ranks have ended. Once one fails the others are asked to end, and after a grace period killed.

    Returns the numbers of the ranks that failed before any was asked to end.
    """
    deadline, first = None, list[int]()
    while any(rank.poll() is None for rank in ranks):
        first = first or [n for n, rank in enumerate(ranks) if rank.poll() not in (None, 0, EXIT_STOPPED)]
        if deadline is None and first:
            deadline = time.monotonic() + GRACE_SECONDS
            for rank in ranks:
                rank.terminate()
        if deadline is not None and time.monotonic() > deadline:
            for rank in ranks:
                rank.kill()
        time.sleep(0.05)
    return first or [n for n, rank in enumerate(ranks) if rank.returncode not in (0, EXIT_STOPPED)]


@contextlib.contextmanager
def _forwarding_signals(ranks: list["subprocess.Popen[bytes]"]) -> Iterator[None]:
    def forward(number: int, frame: Any) -> None:
        interrupts.remember(number)
        for rank in ranks:
            if rank.poll() is None:
                rank.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in interrupts.caught()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _environment(rank: int, processes: int, port: int, threads: int) -> dict[str, str]:
    return os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # torch's name for a store that a launcher holds
        "OMP_NUM_THREADS": str(threads or _threads(processes)),
    }


def _threads(processes: int) -> int:
    """The threads of one rank, which shares the usable cores of its machine with the other ranks."""
    return max(1, len(os.sched_getaffinity(0)) // processes)
