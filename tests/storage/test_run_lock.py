import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from forgetfilter.errors import UserError
from forgetfilter.storage import run_lock
from forgetfilter.storage.run_lock import NAME, held

HOLD = "import sys; from pathlib import Path; from forgetfilter.storage.run_lock import held\n"
HOLD += "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"


def elsewhere(path: Path) -> None:
    """Makes a lock that of a process on another machine."""
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "node7", "machine": "another", "pid": 4711}))


def test_a_second_process_is_told_who_holds_the_run(tmp_path: Path) -> None:
    # One line names host, process and time. After the holder's end the folder is free and holds no trace of a lock.
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with (
            pytest.raises(UserError, match=rf"being worked on by process {other.pid} on \S+ since 20") as caught,
            held(run),
        ):
            pass
        assert "\n" not in str(caught.value)
        assert other.stdin is not None
        other.stdin.close()
    with held(run):
        assert (run / NAME).exists()
    assert list(run.iterdir()) == []


def test_a_killed_holder_keeps_nothing(tmp_path: Path) -> None:
    # Nobody waits for it, and another process with its number is not the holder.
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        other.kill()
    left = json.loads((tmp_path / NAME).read_text())
    with held(tmp_path):
        pass
    (tmp_path / NAME).write_text(json.dumps(left | {"pid": os.getpid()}))
    with held(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_a_holder_on_another_machine_is_alive_while_it_touches_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Its process cannot be looked for. A node that died touches nothing, and its lock is taken over.
    monkeypatch.setattr(run_lock, "PATIENCE", 60.0)
    lock, ended = tmp_path / NAME, threading.Event()
    lock.write_text(json.dumps(run_lock._whoami() | {"token": "a"}))
    elsewhere(lock)

    def beat() -> None:
        while not ended.wait(0.01):
            os.utime(lock)

    beating = threading.Thread(target=beat)
    beating.start()
    with pytest.raises(UserError, match="process 4711 on node7 since"), held(tmp_path):
        pass
    ended.set()
    beating.join()
    monkeypatch.setattr(run_lock, "PATIENCE", 0.2)
    with held(tmp_path):
        assert json.loads(lock.read_text())["pid"] == os.getpid()


def test_a_lock_that_was_taken_over_is_left_alone(tmp_path: Path) -> None:
    # A holder that was suspended and goes on leaves it alone, because the file now belongs to another.
    with held(tmp_path):
        other = json.dumps({"token": "another"})
        (tmp_path / NAME).write_text(other)
    assert (tmp_path / NAME).read_text() == other


def test_a_lock_that_cannot_be_written_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A full disk takes the file's name but not what it holds: one line, and nobody waits for it afterwards.
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(run_lock.json, "dump", full)
        with pytest.raises(UserError, match="cannot be written: No space left on device"), held(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path):
        assert (tmp_path / NAME).stat().st_size


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("made_anew", [False, True])
def test_a_folder_that_is_renamed_meanwhile_is_told(tmp_path: Path, fails: bool, made_anew: bool) -> None:
    # It is told whether the work fails over it or not, and also if the work has made a new folder of the old name.
    run = tmp_path / "run"
    with pytest.raises(UserError, match="run was renamed or deleted while it was worked on: put it back"), held(run):
        run.rename(tmp_path / "moved")
        if made_anew:
            run.mkdir()
        if fails:
            raise FileNotFoundError(2, "No such file", "run/x")


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    # Only temporary files of the project's own kind are removed, wherever they lie.
    (tmp_path / "run" / "losses").mkdir(parents=True)
    for name in (".part-0.parquet.12.tmp", ".mine.tmp", "a.12.tmp", ".hidden"):
        (tmp_path / "run" / "losses" / name).write_text("x")
    with held(tmp_path / "run"):
        left = sorted(path.name for path in (tmp_path / "run" / "losses").iterdir())
    assert left == [".hidden", ".mine.tmp", "a.12.tmp"]
