import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgetfilter.errors import EXIT_STOPPED, Stopped
from forgetfilter.process import interrupts


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in interrupts.STOPPING}
    monkeypatch.setattr(interrupts, "_received", [])
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    interrupts.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", interrupts.STOPPING)
def test_a_signal_is_a_flag_until_it_is_looked_at(number: int) -> None:
    # It interrupts nothing; the next check raises Stopped, which says to run again.
    interrupts.stop_if_requested("score before")
    os.kill(os.getpid(), number)
    with pytest.raises(Stopped, match=r"score before stopped by a signal; everything is saved, run the same command"):
        interrupts.stop_if_requested("score before")


def test_a_second_ctrl_c_ends_at_once() -> None:
    # A user who presses it again does not wait for the step to end.
    os.kill(os.getpid(), signal.SIGINT)
    assert interrupts.requested()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_scheduler_may_signal_twice() -> None:
    # Slurm sends SIGUSR1 first and SIGTERM later; the second must not cost the checkpoint.
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert interrupts.requested()


WAIT = (
    "import sys, time; from forgetfilter.process import exit_codes, interrupts\n"
    "interrupts.install()\n"
    "def work():\n"
    "    print('ready', flush=True)\n"
    "    while not interrupts.noted(): time.sleep(0.01)\n"
    "    time.sleep(0.5)\n"
    "    print('saved', file=sys.stderr, flush=True)\n"
    "    open(sys.argv[1], 'w').write('saved')\n"
    "    interrupts.stop_if_requested('train')\n"
    "raise SystemExit(exit_codes.exit_code_of(work))\n"
)


def test_a_terminal_that_goes_away_has_the_work_saved(tmp_path: Path) -> None:
    # SIGHUP comes with a real terminal to which nothing can be written any more; printing must then cost nothing.
    master, slave = pty.openpty()
    command = [sys.executable, "-c", WAIT, str(tmp_path / "saved")]

    def own_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=own_terminal
    ) as child:
        os.close(slave)
        assert os.read(master, 100).startswith(b"ready")
        os.close(master)
        assert child.wait(60) == EXIT_STOPPED
    assert (tmp_path / "saved").read_text() == "saved"


def test_nohup_keeps_its_word() -> None:
    # A signal that was ignored from the start stays ignored.
    code = "import signal; from forgetfilter.process import interrupts\ninterrupts.install()\n"
    code += "print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    done = subprocess.run(["nohup", sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
