"""What long work says where its output is a file."""

import io

import pytest
from rich.console import Console

from forgetfilter.process import progress as module
from forgetfilter.process.progress import PlainConsole, at_stage, duration, progress, where


def test_a_line_each_tenth_tells_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The 40 of 100 pieces that an earlier run did print no line and do not speed up the estimate: 10 pieces took 5 s,
    # and 50 are left.
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with progress("score", 100, 40) as meter:
        for _ in range(60):
            now[0] += 0.5
            meter.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "score: 50 of 100, 25.0 s left" and lines[-1] == "score: 100 of 100" and len(lines) == 6


def test_a_line_tells_the_tokens_a_second(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # 10 tokens in half a second are 20 a second, whatever an earlier run did; with two ranks each has done half of it.
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    for ranks in ("1", "2"):
        monkeypatch.setenv("WORLD_SIZE", ranks)
        with progress("score", 10, 8) as meter:
            now[0] += 0.5
            meter.advance(2, tokens=10)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["score: 10 of 10, 20 tokens/s", "score: 10 of 10, 20 tokens/s (10 a rank)"]


def test_a_line_tells_the_share_of_the_ceiling(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # 30 operations in half a second, where two devices of 50 a second could have done 50; a ceiling that was exceeded
    # was measured wrongly, and nothing is said by it.
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("WORLD_SIZE", "2")
    for ceiling in (50.0, 20.0):
        with progress("score", 10, 8, ceiling) as meter:
            now[0] += 0.5
            meter.advance(2, tokens=10, operations=30.0)
    lines = capsys.readouterr().err.splitlines()
    said = "score: 10 of 10, 20 tokens/s (10 a rank)"
    assert lines == [f"{said}, 60% of ceiling", said]


def test_where_a_pipeline_is_stands_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a terminal of 80 columns; outside of a pipeline, and once the bar is full, the bar stands alone.
    terminal = PlainConsole(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(module, "console", terminal)
    screen = Console(file=io.StringIO(), width=80)

    def shown(done: int) -> str:
        with progress("train noisy", 4) as meter:
            meter.advance(done, tokens=1000 * done)
            assert meter.bar is not None
            with screen.capture() as captured:
                screen.print(*meter.bar.get_renderables())
        return captured.get()

    assert "stage" not in shown(2)
    with at_stage(2, 9, module.time.time() - 125):
        lines = shown(2).splitlines()
        assert lines[0].strip() == "stage 2 of 9, 2 min 5 s so far" and "2/4" in lines[1] and "tokens/s" in lines[1]
        assert "stage" not in shown(4)
        assert where(begun=False) == where()
    for share, told in ((0.0, ""), (0.4599, "at least 45% "), (0.999, "at least 99% "), (1.0, "all ")):
        with at_stage(2, 9, module.time.time() - 7325, share):
            whole = f"stage 2 of 9, {told}of the examples learned or scored, 2 h 2 min so far"
            assert where() == (whole if told else where(begun=False)) == shown(2).splitlines()[0].strip()
            assert where(begun=False) == "stage 2 of 9, 2 h 2 min so far"
    assert where() == "" and max(map(len, lines)) <= 80


def test_seconds_in_words() -> None:
    # What is not known is a dash.
    assert [duration(None), duration(5), duration(125), duration(7260)] == ["–", "5.0 s", "2 min 5 s", "2 h 1 min"]
