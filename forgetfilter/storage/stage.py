"""A stage of the pipeline as one value, the task that it makes of a run, and the loader that reaches it."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from forgetfilter.config.schema import Config
from forgetfilter.files import sha256_value
from forgetfilter.storage.run_folder import Run

T = TypeVar("T")


class Task(ABC):
    """The work of a stage on one run. A subclass is a frozen dataclass that holds all that the stage needs to know of
    the run, as plain values and paths, so that nothing behind it sees the `Run`."""

    @abstractmethod
    def inputs(self) -> object:
        """What the outcome depends on, as a JSON value, whose hash decides whether the stage is done again. Raises
        UserError where an earlier stage is not done."""

    @abstractmethod
    def work(self) -> None:
        """Does the work, or goes on with it. Raises Stopped after a signal, with everything saved."""

    def foreign(self) -> dict[str, str | None] | None:
        """The contents of the files from outside that are read, such as `model`, since these may be exchanged in place.
        None where there are none."""
        return None

    def foresee(self) -> list[str]:
        """What is known of the outcome once the mix is done, before anything is trained, in lines for people. UserError
        where the work cannot be done."""
        return []

    def unfinished(self) -> bool:
        """Whether a stage that is done left something out that another try may complete."""
        return False

    def input_hash(self) -> str:
        return sha256_value(self.inputs())


@dataclass(frozen=True)
class Stage:
    """What the pipeline must know of a stage. Each is defined in the file `stage.py` of its own folder."""

    name: str
    """Its name in state.json and on the command line."""
    task: Callable[[Run], Task]
    """Resolves what the stage needs of a run. Reads no model and no data."""
    outputs: tuple[str, ...] = ()
    """Folders and files below the run folder that are removed before the stage starts from its beginning."""
    files: tuple[str, ...] = ()
    """Files below the run folder that stand for the outcome: while one of them is missing the stage is not done."""
    folder: str = ""
    """Below the run folder: all that the stage makes, so that another run with the same inputs may take it over; empty
    for a stage that every run does by itself."""
    made: tuple[str, ...] = ()
    """The files whose sums are noted once it is done: damaged, they are made again. Empty for all in `folder`."""
    editable: tuple[str, ...] = ()
    """Those that a person may change: what comes after takes them as they stand."""
    reads: tuple[str, ...] = ()
    """The stages whose files it reads."""
    wanted: Callable[[Config], bool] = lambda config: True
    """Whether the config asks for the stage at all."""
    check: Callable[[Config], None] = lambda config: None
    """Refuses, with a UserError, settings that cannot work, before any stage is started."""
    scratch: str | None = None
    """The folder from which a stopped stage goes on: removed once the stage is recorded as done, never before."""


@runtime_checkable
class Answering(Protocol):
    """A task of which `forgetfilter filter RUN` asks something besides deciding."""

    def answer(self, swept: bool, asked: str | None, reviewed: int | None, reveal: bool, as_json: bool) -> None:
        """Prints or writes what --sweep, --why ID and --review N ask for, the texts masked unless `reveal`."""


@runtime_checkable
class Logging(Protocol):
    """A task of which `forgetfilter eval RUN` asks something besides measuring."""

    def log(self, models: Sequence[str], target: Path) -> list[Path]:
        """Writes for --inspect-log what is stored of these models into the folder `target`; returns the files."""


@dataclass(frozen=True)
class Comparison:
    """How evaluations are compared."""

    work: Callable[[tuple[str, str], str | None], Path]
    """`forgetfilter eval --compare A B`: from A and B, and the run folder in which both are models, if one is given, to
    the folder of what it wrote."""
    differences: Callable[[Sequence[Path], Sequence[Path]], dict[str, dict[str, dict[str, Any]]]]
    """Of two ways to train, each in one run a seed, as eval/side_by_side.py says."""


def load(where: str, kind: type[T]) -> T:
    """The value that `MODULE:NAME` names. The folders train, filter and eval are reached in this way alone: the core
    must import none of them by a statement."""
    module, _, name = where.partition(":")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, kind), f"{where} is no {kind.__name__}"
    return found
