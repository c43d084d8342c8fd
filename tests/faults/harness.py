"""Disturbs a pipeline, gives the same command again, and compares what it comes to with the undisturbed one.

A case is a fault in a stage. After it the command is done, or it has ended in one line (exit 2) or with all saved
(exit 75), or it was killed; never in a traceback, never silently in something else. The same command then ends in
the same ids, losses, adapters to the bit, decisions and metrics.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from faults.commands import Command, alive, children
from faults.toy import STAGES, outcome, words, write_inputs

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
CALLS = (*SIGNALS, "disk full", "read-only", "second process", "renamed folder")  # at a call that changes the disk
DAMAGES = ("cut", "emptied", "flipped", "deleted", "exchanged")
RANK, SILENT, SLOW = "a rank killed", "a rank suspended", "a rank suspended for 5 s"
TIMEOUT = 30  # seconds that ranks wait for one another where one is suspended
RANKED = ("train-noisy", "train-safe", "score", "train-refit", "eval")  # stages that ranks work on
EDITABLE = "filter/kept.jsonl"


@dataclass(frozen=True)
class Case:
    """A fault; `place` in [0, 1) is drawn, and chooses the call, the moment or the file."""

    stage: str
    kind: str
    place: float
    ranks: int = 1

    def __str__(self) -> str:
        return f"{self.stage}, {self.kind}, {self.place:.3f}" + (f", {self.ranks} ranks" if self.ranks > 1 else "")


KINDS = (*CALLS, *DAMAGES, "SIGKILL at random", "SIGTERM at random", "SIGINT at random", "clock set back")


def draw(number: int, seed: int, stages: Sequence[str] = STAGES) -> list[Case]:
    """So many cases: kinds in turn, stages by chance."""
    chance = random.Random(seed)
    return [Case(chance.choice(stages), kind, chance.random()) for kind in islice(cycle(KINDS), number)]


def draw_ranked(number: int, seed: int, kind: str = RANK) -> list[Case]:
    """So many cases in which something is done to one of two ranks, stages in turn; each takes a minute, since ranks
    import torch."""
    chance = random.Random(f"{seed} {kind}")
    return [Case(stage, kind, chance.random(), ranks=2) for stage in islice(cycle(RANKED), number)]


@dataclass
class Harness:
    """An undisturbed pipeline with a copy of the run folder after each stage, and the means to disturb another."""

    folder: Path
    model: Path
    calls: dict[str, int] = field(default_factory=dict)
    """{stage: its calls that change the disk}."""
    seconds: dict[str, float] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)
    by_ranks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """{stage: what it comes to by two ranks, whose sums are rounded otherwise}."""
    seconds_by_ranks: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = write_inputs(self.folder, self.model)
        self.run = self.folder / "runs" / "toy"
        self._number = 0
        for stage in STAGES:
            counts = self.folder / "counts"
            start = time.monotonic()
            command = self.start(stage, {"kind": "none", "at": -1, "counts": str(counts)})
            assert command.end() == 0, command.said.read_text()
            self.calls[stage], self.seconds[stage] = int(counts.read_bytes()), time.monotonic() - start
            shutil.copytree(self.run, self.folder / "after" / stage, symlinks=True)
        self.expected = outcome(self.run, STAGES)
        assert None not in self.expected.values()

    def start(self, stage: str, fault: dict[str, Any] | None = None, *overrides: str) -> Command:
        command, *word = words(stage)
        self._number += 1
        said = self.folder / f"said-{self._number}"
        argv = [command, str(self.config), *word, *overrides]
        fault = fault and {"folder": str(self.run)} | fault
        return Command(argv, fault, said)

    def try_case(self, case: Case) -> str:
        """What was wrong; empty where the pipeline survived."""
        if case.kind in DAMAGES:
            self._begin(STAGES.index(case.stage) + 1)
            return self._damaged(case)
        if case.ranks > 1 and case.stage not in self.by_ranks:
            self._begin(STAGES.index(case.stage))
            start = time.monotonic()
            undisturbed = self.start(case.stage, None, *_ranks(case))
            assert undisturbed.end() == 0, undisturbed.said.read_text()
            self.seconds_by_ranks[case.stage] = time.monotonic() - start
            self.by_ranks[case.stage] = outcome(self.run, (case.stage,))
        self._begin(STAGES.index(case.stage))
        return self._disturbed(case)

    def _begin(self, done: int) -> None:
        """A run folder in which so many stages are done."""
        shutil.rmtree(self.run, ignore_errors=True)
        if done:
            shutil.copytree(self.folder / "after" / STAGES[done - 1], self.run, symlinks=True)

    def _disturbed(self, case: Case) -> str:
        at = int(case.place * self.calls[case.stage])
        by_call = case.kind in CALLS or case.kind == "clock set back"
        wait = [f"launch.timeout={TIMEOUT}"] if case.kind == SILENT else []
        first = self.start(case.stage, {"kind": case.kind, "at": at} if by_call else None, *_ranks(case), *wait)
        wrong = ""
        if case.kind == "second process":
            wrong = self._second(case, first)
        elif not by_call:
            wrong = self._signalled(case, first)
        code = first.end()
        if (moved := self.run.with_name(f"{self.run.name}-moved")).exists():
            shutil.rmtree(self.run, ignore_errors=True)
            moved.rename(self.run)
        return wrong or self._ended(first, code) or self._again(case)

    def _second(self, case: Case, first: Command) -> str:
        """A second process comes while the first one waits at its call."""
        lock, end = self.run / ".lock", time.monotonic() + 60
        while not lock.exists() and time.monotonic() < end and alive(first.process):
            time.sleep(0.01)
        second = self.start(case.stage)
        code = second.end()
        if code == 2 and len(second.lines()) == 1 and not second.traceback():
            return ""
        if code == 0 and not second.traceback():  # the first one was done already
            return ""
        return f"second process: exit {code}, {second.lines()}"

    def _signalled(self, case: Case, command: Command) -> str:
        if case.ranks > 1:
            return self._signal_rank(case, command)
        time.sleep(case.place * self.seconds[case.stage])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command.process, signal.Signals[case.kind.split()[0]])
        return ""

    def _signal_rank(self, case: Case, command: Command) -> str:
        start = time.monotonic()
        while len(ranks := children(command.process)) < case.ranks and alive(command.process):
            if time.monotonic() > start + 120:
                return "its ranks never started"
            time.sleep(0.05)
        moment = start + case.place * self.seconds_by_ranks[case.stage]
        time.sleep(max(0, moment - time.monotonic()))
        if ranks := children(command.process):
            rank = ranks[int(case.place * 1000) % len(ranks)]
            with contextlib.suppress(ProcessLookupError):
                os.kill(rank, signal.SIGKILL if case.kind == RANK else signal.SIGSTOP)
                if case.kind == SLOW:
                    time.sleep(5)
                    os.kill(rank, signal.SIGCONT)
        return ""

    def _ended(self, command: Command, code: int | None) -> str:
        """What is wrong with the end of a command; empty where it is done, refused in a line, stopped, or killed."""
        lines = command.lines()
        if command.traceback():
            return f"a traceback (exit {code}): {command.said.read_text()[-600:]}"
        if code not in (0, 2, 75, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP):
            return f"exit {code}: {command.said.read_text()[-600:]}"
        if code in (2, 75) and len(lines) != 1:
            return f"exit {code} with {len(lines)} lines: {lines}"
        return ""

    def _again(self, case: Case) -> str:
        command = self.start(case.stage, None, *_ranks(case))
        code = command.end()
        if code or command.traceback():
            return f"the same command again: exit {code}: {command.said.read_text()[-600:]}"
        expected = self.expected | (self.by_ranks[case.stage] if case.ranks > 1 else {})
        return self._differs(STAGES[: STAGES.index(case.stage) + 1], expected) or self._left()

    def _differs(self, stages: tuple[str, ...], expected: dict[str, Any]) -> str:
        found = outcome(self.run, stages)
        wrong = [name for name, value in found.items() if value != expected[name]]
        return f"not as undisturbed: {', '.join(wrong)}" if wrong else ""

    def _left(self) -> str:
        left = [str(path.relative_to(self.run)) for path in self.run.rglob(".*")]
        return f"left behind: {', '.join(left)}" if left else ""

    def _damaged(self, case: Case) -> str:
        """A file is damaged after the stage, and the pipeline goes on: to the same end, or to a line that mends."""
        files = sorted(path for path in self.run.rglob("*") if path.is_file())
        file = files[int(case.place * len(files))]
        name = str(file.relative_to(self.run))
        _damage(case, file, files)
        command = self.start("run")
        code = command.end()
        wrong = self._ended(command, code)
        if not wrong and code == 2:  # its line names what to delete, or the file
            line = command.lines()[0]
            found = re.search(r"delete (/[^\s;:,]+)", line) or re.search(r"(/[^\s:]+).*: delete it", line)
            _delete(Path(found[1]) if found else file)
            command = self.start("run")
            code = command.end()
        if wrong or code:
            return f"{name}: {wrong or f'exit {code}: {command.said.read_text()[-600:]}'}"
        said = command.said.read_text()
        if name == EDITABLE and "taken as it stands" in said.replace("\n", " "):
            return ""
        differs = self._differs(STAGES, self.expected)
        return f"{name}: {differs}" if differs else ""


def _ranks(case: Case) -> list[str]:
    return [f"launch.processes={case.ranks}"] if case.ranks > 1 else []


def _damage(case: Case, file: Path, files: list[Path]) -> None:
    content = bytearray(file.read_bytes())
    if case.kind == "deleted":
        file.unlink()
    elif case.kind == "exchanged":
        like = [other for other in files if other.suffix == file.suffix and other != file] or files
        other = like[int(case.place * 7919) % len(like)]
        theirs = other.read_bytes()
        other.write_bytes(content)
        file.write_bytes(theirs)
    elif case.kind == "flipped" and content:
        content[int(case.place * len(content))] ^= 1 << int(case.place * 7919) % 8
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2 if case.kind == "cut" else 0])


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
