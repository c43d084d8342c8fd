import os
import signal
from collections.abc import Iterator

import pytest

from forgetfilter.errors import Stopped
from forgetfilter.process import interrupts


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in interrupts.STOPPING}
    monkeypatch.setattr(interrupts, "_received", [])
    interrupts.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", interrupts.STOPPING)
def test_a_signal_is_a_flag_until_it_is_looked_at(number: int) -> None:
    # Nothing is interrupted by it; the next look raises Stopped, which says to run again.
    interrupts.stop_if_requested("score before")
    os.kill(os.getpid(), number)
    with pytest.raises(Stopped, match=r"score before stopped by a signal; everything is saved, run the same command"):
        interrupts.stop_if_requested("score before")


def test_a_second_ctrl_c_ends_at_once() -> None:
    # The user who insists does not wait for the step to end.
    os.kill(os.getpid(), signal.SIGINT)
    assert interrupts.requested()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_scheduler_may_signal_twice() -> None:
    # Slurm sends SIGUSR1 first and SIGTERM later: the second must not cost the checkpoint.
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert interrupts.requested()
