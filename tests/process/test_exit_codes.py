import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forgetfilter.errors import Stopped, UserError
from forgetfilter.process.exit_codes import exit_code_of

CODE = """
from forgetfilter.process.exit_codes import exit_code_of
def work():
    raise RuntimeError("https://me:planted-password@host/v1 does not answer")
exit_code_of(work)
"""


def test_a_traceback_holds_no_password() -> None:
    # A bug of ours is told with its traceback, whose message may be a library's.
    for environment in ({}, {"RANK": "0", "WORLD_SIZE": "1"}):
        done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment)
        assert done.returncode == 1 and "Traceback" in done.stderr and "in work" in done.stderr
        assert "planted" not in done.stderr and "RuntimeError: https://***@host/v1 does not answer" in done.stderr


@pytest.mark.parametrize("number", [errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_path_that_cannot_be_used_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    # A folder in the place of a file, missing rights and a server that fails are told with the path, and not as a bug.
    def fail() -> None:
        raise OSError(number, os.strerror(number), "/data/rows.jsonl")

    assert exit_code_of(fail) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"forgetfilter: /data/rows.jsonl: {os.strerror(number)}; look at")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # So it is for a real one.
    assert exit_code_of(lambda: tmp_path.read_bytes()) == 2
    assert capsys.readouterr().err.startswith(f"forgetfilter: {tmp_path}: Is a directory")


@pytest.mark.parametrize("end", [UserError, Stopped])
def test_no_line_steers_the_terminal(end: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    # What a refusal or a stop quotes is text alone.
    def fail() -> None:
        raise end("train \x1b[2J\u202e stopped")

    exit_code_of(fail)
    assert capsys.readouterr().err == "forgetfilter: train \ufffd[2J\ufffd stopped\n"
