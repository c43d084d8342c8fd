"""Shows the progress of rank 0 with the time left: as a bar on a terminal, and as a line now and then in a file."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from forgetfilter.errors import masked, printable
from forgetfilter.process.distributed import world
from forgetfilter.process.passes import Pass, begin_pass, end_pass

WIDE = 160  # the columns of a log file, which has no width of its own


class PlainConsole(Console):
    """A console that prints texts as they are: brackets are no markup, and no character of a data row steers the
    terminal.

    Secrets are masked.
    """

    def render_str(self, text: str, **style: Any) -> Text:
        return super().render_str("\n".join(map(printable, masked(text).split("\n"))), **style)


def width_of(stream: TextIO) -> int | None:
    """The width for rich in columns; None where it is that of the terminal or of COLUMNS."""
    return None if stream.isatty() or "COLUMNS" in os.environ else WIDE


def results(quiet: bool = False) -> Console:
    """A console on stdout for what a command was asked for; it takes no `:name:` in a path or a name for an emoji."""
    return Console(highlight=False, emoji=False, width=width_of(sys.stdout), quiet=quiet)


QUIET = "FORGETFILTER_QUIET"  # of a command and its ranks, which inherit it
STAGE = "FORGETFILTER_STAGE"  # where a pipeline is, for the bars of this process or of its ranks


def is_quiet() -> bool:
    """Whether only results and errors are to be printed."""
    return bool(os.environ.get(QUIET))


def silence() -> None:
    """Prints no progress and no remarks from here on, in the ranks neither."""
    os.environ[QUIET] = "1"
    console.quiet = True


console = PlainConsole(
    stderr=True, highlight=False, markup=False, emoji=False, width=width_of(sys.stderr), quiet=is_quiet()
)


class Meter:
    """Counts finished pieces of work, and the tokens and operations in them; `ceiling` as in `Pass`."""

    def __init__(self, what: str, total: int, bar: Progress | None, ceiling: float | None = None):
        self.what, self.total, self.done, self.bar, self.ceiling = what, total, 0, bar, ceiling
        self.started, self.before, self.work = time.monotonic(), 0, Pass()
        self.task = bar.add_task(what, total=total, rate="") if bar else None

    def advance(self, pieces: int = 1, tokens: int = 0, operations: float = 0.0) -> None:
        """Counts pieces that are done, with the tokens and operations in them, each of all ranks."""
        tenth = 10 * self.done // max(1, self.total)
        self.done += pieces
        self.work.tokens += tokens
        self.work.operations += operations
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, advance=pieces, rate=self._rate())
        elif world().is_main and 10 * self.done // max(1, self.total) > tenth:
            said = filter(None, (f"{self.what}: {self.done} of {self.total}", self._left(), self._rate()))
            console.print(", ".join(said))

    def begin_at(self, done: int) -> None:
        """Begins the pass, of which an earlier run finished `done` pieces. They print no line and do not affect the
        time left."""
        self.before = self.done = done
        self.started, self.work = time.monotonic(), begin_pass()
        self.work.ceiling = self.ceiling
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done)

    def end(self) -> None:
        self.work.seconds = time.monotonic() - self.started
        self.work.whole = self.before == 0 and self.done == self.total
        end_pass(self.what, self.work)

    def _left(self) -> str:
        seconds = (time.monotonic() - self.started) / max(1, self.done - self.before) * (self.total - self.done)
        return f"{duration(seconds)} left" if self.done < self.total else ""

    def _rate(self) -> str:
        if not self.work.tokens:
            return ""
        work, seconds = self.work, max(time.monotonic() - self.started, 1e-9)
        rate, share = work.tokens / seconds, replace(work, seconds=seconds).ceiling_share
        each = f" ({rate / work.ranks:,.0f} a rank)" if work.ranks > 1 else ""
        return f"{rate:,.0f} tokens/s{each}" + ("" if share is None else f", {share:.0%} of ceiling")


@contextmanager
def progress(what: str, total: int, done: int = 0, ceiling: float | None = None) -> Iterator[Meter]:
    """A meter for `total` pieces of work, of which `done` were finished by an earlier run; `ceiling` as in `Pass`."""
    with _bar() if world().is_main and console.is_terminal else nullcontext() as bar:
        meter = Meter(what, total, bar, ceiling)
        meter.begin_at(done)
        try:
            yield meter
        finally:
            meter.end()


def _bar() -> Progress:
    columns = (TextColumn("{task.description:<24}"), BarColumn(None), MofNCompleteColumn(), TextColumn("left"))
    return _Bars(*columns, TimeRemainingColumn(), TextColumn("{task.fields[rate]}"), console=console)


class _Bars(Progress):
    """A bar beneath the line that tells where the pipeline is, which goes once the bar is full."""

    def get_renderables(self) -> Iterable[RenderableType]:
        if (told := where()) and not self.finished:
            yield Text(told, "bold", no_wrap=True, overflow="ellipsis")
        yield from super().get_renderables()


@contextmanager
def at_stage(number: int, count: int, began: float, share: float | None = None) -> Iterator[None]:
    """Tells bars that the pipeline, which began at that time, is at a stage, of which it has `count`. At least this
    `share` of its examples was learned or scored before, where that is known."""
    os.environ[STAGE] = json.dumps([number, count, began, share])
    try:
        yield
    finally:
        del os.environ[STAGE]


def where(begun: bool = True) -> str:
    """Where a pipeline is and since when it has worked, in words; empty outside of a pipeline.

    The share is that at which the stage has `begun`. What is left in all is not said: a machine that others use too is
    not as fast later as it was before, and how long the answers are nobody knows (docs/findings/2026-11-28.md).
    """
    if not (told := os.environ.get(STAGE)):
        return ""
    number, count, began, share = json.loads(told)
    part = "all" if share == 1 else f"at least {int(100 * (share or 0))}%"
    done = f"{part} of the examples learned or scored" if share and begun else ""
    return ", ".join(filter(None, (f"stage {number} of {count}", done, f"{duration(time.time() - began)} so far")))


def duration(seconds: float | None) -> str:
    """Seconds in words, such as `2 min 5 s`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
