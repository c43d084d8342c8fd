import os
import sys
from pathlib import Path
from typing import Any

import pytest

from forgetfilter.errors import Stopped, UserError
from forgetfilter.process.launch import LAUNCHER, launch

HEAD = "import os, sys, time\nrank = int(os.environ.get('RANK', 0))\n"
GUARDED = """
from forgetfilter.process.exit_codes import exit_code_of
from forgetfilter.errors import UserError
def main(args):
    if rank == 1:
        raise UserError("data.x is wrong on this rank")
if __name__ == "__main__":
    raise SystemExit(exit_code_of(lambda: main([])))
"""


def guarded(head: str, work: str) -> str:
    """A module whose main does `work`, under the guard of every rank; `head` stands before it."""
    lines = "".join(f"    {line}\n" for line in work.splitlines())
    imports = "from forgetfilter.process.exit_codes import exit_code_of\n"
    return f"{imports}{head}def main():\n{lines}raise SystemExit(exit_code_of(main))\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, body: str) -> str:
        (tmp_path / f"{name}.py").write_text(HEAD + body)
        return name

    return write


def test_one_rank_runs_in_this_process(module: Any, tmp_path: Path) -> None:
    # No further process is started.
    name = module("toy_one", "def main(args):\n    open(args[0], 'w').write(str(os.getpid()))\n")
    launch(name, [str(tmp_path / "pid")], 1, 0)
    assert (tmp_path / "pid").read_text() == str(os.getpid())


def test_every_rank_knows_its_place(module: Any, tmp_path: Path) -> None:
    # The ranks have the variables that torchrun sets, and the threads divided as asked.
    keys = "('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'OMP_NUM_THREADS')"
    name = module("toy_place", f"open(sys.argv[1] + str(rank), 'w').write(' '.join(os.environ[k] for k in {keys}))\n")
    launch(name, [str(tmp_path / "rank")], 2, 3)
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["0 0 2 3", "1 1 2 3"]


def test_nobody_can_take_the_port_before_the_ranks_meet(module: Any, tmp_path: Path) -> None:
    # The port is in use before the ranks start, though no rank has joined; then they join through it.
    body = guarded(
        "import socket\nfrom forgetfilter.process.distributed import gathered, process_group\n"
        "try:\n    socket.create_server(('127.0.0.1', int(os.environ['MASTER_PORT'])))\n"
        "    taken = False\nexcept OSError:\n    taken = True\n",
        "with process_group():\n    everyone = gathered(taken)\n"
        "open(sys.argv[1] + str(rank), 'w').write(str(everyone))\n",
    )
    launch(module("toy_port", body), [str(tmp_path / "rank")], 2, 1)
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["[True, True]"] * 2


def test_the_users_mistake_on_one_rank_comes_through(module: Any) -> None:
    # The user gets the line of rank 1, without its prefix.
    with pytest.raises(UserError) as caught:
        launch(module("toy_user", GUARDED), [], 2, 1)
    assert str(caught.value) == "data.x is wrong on this rank"


def test_the_mistake_wins_over_the_crash_that_it_causes(module: Any, tmp_path: Path) -> None:
    # Rank 0 crashes because rank 1 has gone; the user is told the cause.
    body = (
        "if rank == 1:\n    print('forgetfilter: mine', file=sys.stderr)\n"
        "    open(sys.argv[1], 'w').write(f'{os.getpid()}\\n')\n    sys.exit(2)\n"
        "while not os.path.exists(sys.argv[1]) or not (pid := open(sys.argv[1]).read()): time.sleep(0.01)\n"
        "while os.path.exists(f'/proc/{pid.strip()}'): time.sleep(0.01)\n"
        "sys.exit(1)\n"
    )
    with pytest.raises(UserError, match="mine"):
        launch(module("toy_both", body), [str(tmp_path / "pid")], 2, 1)


def test_a_rank_that_is_done_is_not_undone_by_pythons_own_end(module: Any, tmp_path: Path) -> None:
    # What is registered for the end runs and what was printed arrives, but a thread of a library cannot abort the rank.
    body = guarded(
        "import atexit\nclass Library:\n    def __del__(self):\n        os.abort()\nheld = Library()\n",
        "atexit.register(lambda: open(sys.argv[1] + str(rank), 'w').write('ended'))\n",
    )
    launch(module("toy_end", body), [str(tmp_path / "rank")], 2, 1)
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["ended"] * 2


def test_stopped_ranks_stop_the_stage(module: Any) -> None:
    # An exit code of 75 on every rank means that all is saved, so the command can be run again.
    with pytest.raises(Stopped, match="run the same command again"):
        launch(module("toy_stop", "sys.exit(75)\n"), [], 2, 1)


def test_a_killed_rank_stops_the_stage(module: Any) -> None:
    # A machine out of memory kills one rank: this is no bug of ours, and the others save first. One line says which
    # rank was killed and how.
    body = "if rank == 1:\n    os.kill(os.getpid(), 9)\nimport signal\n"
    body += "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\ntime.sleep(600)\n"
    with pytest.raises(Stopped, match=r"rank 1 of toy_killed was killed \(SIGKILL.*run the same command again"):
        launch(module("toy_killed", body), [], 2, 1)


def test_what_a_killed_rank_does_to_the_others_is_no_traceback(module: Any, capfd: Any) -> None:
    # Rank 0, which prints to the user's terminal, fails in its next collective when another is killed; the one line on
    # that other says all.
    body = guarded(
        "from forgetfilter.process.distributed import barrier, process_group\n",
        "with process_group():\n    barrier()\n    if rank == 1: os.kill(os.getpid(), 9)\n    barrier()\n",
    )
    with pytest.raises(Stopped, match=r"rank 1 of toy_alone was killed"):
        launch(module("toy_alone", body), [], 2, 1)
    assert "Traceback" not in capfd.readouterr().err


def test_a_crash_ends_the_others(module: Any, tmp_path: Path, capsys: Any) -> None:
    # Rank 1 crashes after printing more than a pipe holds; rank 0 would sleep for ten minutes, and is asked to end.
    body = (
        "import signal\n"
        "def end(*_):\n    open(sys.argv[1], 'w').write('asked')\n    sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "if rank == 1:\n"
        "    while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n"
        "    print('x' * 200_000, file=sys.stderr)\n    raise ValueError('boom')\n"
        "open(sys.argv[2], 'w').close()\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(RuntimeError, match="rank 1 of toy_crash failed with exit code 1"):
        launch(module("toy_crash", body), [str(tmp_path / "asked"), str(tmp_path / "ready")], 2, 1)
    assert (tmp_path / "asked").read_text() == "asked" and "ValueError: boom" in capsys.readouterr().err


def test_a_rank_that_fails_does_not_wait_to_leave_the_others(module: Any, tmp_path: Path, capsys: Any) -> None:
    # All ranks or none leave NCCL's group. After an error a rank ends at once and says why.
    body = guarded(
        "import torch.distributed as dist\n"
        "from forgetfilter.process.distributed import process_group\n"
        "leave = dist.destroy_process_group\n"
        "def noted():\n    open(sys.argv[1] + str(rank), 'w').close()\n    leave()\n"
        "dist.destroy_process_group = noted\n",
        "with process_group():\n"
        "    dist.barrier()\n"  # else rank 0 may be gone before rank 1 has joined
        "    while rank == 1 and not os.path.exists(sys.argv[1] + '0'): time.sleep(0.01)\n"
        "    assert rank == 0, 'rank 1 fails'\n",
    )
    with pytest.raises(RuntimeError, match="rank 1 of toy_leave failed with exit code 1"):
        launch(module("toy_leave", body), [str(tmp_path / "left")], 2, 1)
    assert [(tmp_path / f"left{rank}").exists() for rank in (0, 1)] == [True, False]
    assert "AssertionError: rank 1 fails" in capsys.readouterr().err


def test_the_bug_is_told_and_not_the_crash_that_it_causes(module: Any, tmp_path: Path, capsys: Any) -> None:
    # Rank 1 fails while rank 0 waits for it, and rank 0 then fails too; the user is told the reason of rank 1.
    body = guarded(
        "from forgetfilter.process.distributed import barrier, process_group\n",
        "with process_group():\n    assert rank == 0, 'the true reason'\n    barrier()\n",
    )
    with pytest.raises(RuntimeError, match="rank 1 of toy_lost failed with exit code 1"):
        launch(module("toy_lost", body), [], 2, 1)
    assert "AssertionError: the true reason" in capsys.readouterr().err


SILENT = """
import signal
from forgetfilter.process.distributed import any_rank, barrier, process_group
"""


@pytest.mark.parametrize("place", ["before it joins", "at work"])
def test_a_silent_rank_stops_the_stage(module: Any, monkeypatch: Any, capfd: Any, place: str) -> None:
    # Rank 1 is suspended, as by a machine that hangs. Rank 0 gives it up after launch.timeout, and it is killed, since
    # it does not end when it is asked to. No rank prints a traceback.
    monkeypatch.setattr("forgetfilter.process.launch.GRACE_SECONDS", 1)
    body = guarded(
        SILENT,
        f"if rank == 1 and {place == 'before it joins'}: os.kill(os.getpid(), signal.SIGSTOP)\n"
        "with process_group(4):\n    barrier()\n"
        "    if rank == 1: os.kill(os.getpid(), signal.SIGSTOP)\n"
        "    barrier()\n",
    )
    with pytest.raises(Stopped, match=r"rank 1 of toy_silent was silent .*launch\.timeout; run the same command again"):
        launch(module("toy_silent", body), [], 2, 1)
    assert "Traceback" not in capfd.readouterr().err


def test_a_slow_rank_changes_nothing(module: Any, tmp_path: Path) -> None:
    # Rank 1 is suspended for a second, and the other one waits for it.
    body = guarded(
        SILENT + "import subprocess\n",
        "with process_group():\n    barrier()\n"
        "    if rank == 1:\n"
        "        subprocess.Popen(['sh', '-c', f'sleep 1; kill -CONT {os.getpid()}'])\n"
        "        os.kill(os.getpid(), signal.SIGSTOP)\n"
        "    open(sys.argv[1] + str(rank), 'w').write(str(any_rank(rank == 1)))\n",
    )
    launch(module("toy_slow", body), [str(tmp_path / "rank")], 2, 1)
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["True", "True"]


def test_a_full_gpu_is_told_in_one_line(module: Any, tmp_path: Path) -> None:
    # The line names the settings that need less memory. Each rank has its share of the cores.
    body = guarded(
        "import torch\n",
        "open(sys.argv[1] + str(rank), 'w').write(os.environ['OMP_NUM_THREADS'])\n"
        "if rank == 1: raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB')\n",
    )
    with pytest.raises(UserError, match=r"GPU's memory is full: lower train\.micro_batch_tokens"):
        launch(module("toy_full", body), [str(tmp_path / "threads")], 2, 0)
    assert int((tmp_path / "threads1").read_text()) == max(1, len(os.sched_getaffinity(0)) // 2)


OUTCOME = """
from forgetfilter.process.exit_codes import exit_code_of
from forgetfilter.errors import Stopped, UserError
def main():
    if sys.argv[2] == "user":
        raise UserError("data.x is wrong")
    if sys.argv[2] == "stop":
        raise Stopped("saved")
    if sys.argv[2] == "bug":
        raise KeyError("bug")
    if sys.argv[2] == "peer":
        raise RuntimeError("Connection closed by peer")
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), 9)
if __name__ == "__main__":
    raise SystemExit(exit_code_of(main))
"""


@pytest.mark.parametrize(
    ("what", "raised"),
    [("user", UserError), ("stop", Stopped), ("bug", RuntimeError), ("peer", Stopped), ("killed", Stopped)],
)
def test_a_launcher_that_loses_exit_codes_loses_no_outcome(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, raised: type[Exception]
) -> None:
    # The ranks' own files distinguish a mistake, a stop, a bug and a lost rank, though the launcher reports only 1 or
    # 0.
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv(LAUNCHER, f"sh -c '\"$@\" || exit 1' - {sys.executable}")
    with pytest.raises(raised):
        launch(module(f"toy_{what}", OUTCOME), [str(tmp_path), what], 1, 0, nodes=2)
    assert not list(tmp_path.glob(".ranks-*"))
