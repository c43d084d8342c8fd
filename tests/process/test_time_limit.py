import signal
import threading

import pytest

from forgetfilter.process.time_limit import time_limit


def spin() -> None:
    while True:
        pass


def test_endless_work_is_ended_and_other_work_is_not() -> None:
    # Endless work ends at the limit, other work does not, and what was set for the signal before is set again.
    earlier = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(TimeoutError, match=r"it takes more than 0\.05 s"), time_limit(0.05):
        spin()
    with time_limit(60):
        assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0) and signal.getsignal(signal.SIGVTALRM) == earlier


def test_another_thread_has_no_limit() -> None:
    # No signal arrives there, so nothing is set.
    seen = []

    def work() -> None:
        with time_limit(1):
            seen.append(signal.getitimer(signal.ITIMER_VIRTUAL))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(0.0, 0.0)]
