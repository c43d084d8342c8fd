"""A stage of the pipeline as one value, and the loader by which the pipeline reaches it."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from forgetfilter.files import sha256_value
from forgetfilter.storage.run_folder import Run


@dataclass(frozen=True)
class Stage:
    """What the pipeline must know of a stage. Each is defined in the file `stage.py` of its own folder."""

    name: str
    """Its name in state.json and on the command line."""
    inputs: Callable[[Run], object]
    """What the outcome depends on, as a JSON value; its hash decides whether the stage is done again. UserError where
    an earlier stage is not done."""
    work: Callable[[Run], None]
    """Does the stage, or goes on with it. Raises Stopped after a signal, with everything saved."""
    foreign: Callable[[Run], dict[str, str | None] | None] = lambda run: None
    """What it reads of files from outside, such as `model`, by content: these may be exchanged in place. None where
    there are none."""
    outputs: tuple[str, ...] = ()
    """Folders and files below the run folder that are removed before the stage starts anew."""
    files: tuple[str, ...] = ()
    """Files below the run folder that stand for the outcome: while one of them is missing the stage is not done."""
    folder: str = ""
    """Below the run folder: all that the stage makes, so that another run with the same inputs may take it over; empty
    for a stage that is done anew in each."""
    unfinished: Callable[[Run], bool] = lambda run: False
    """Whether a stage that is done left something out that another try may give."""
    wanted: Callable[[Run], bool] = lambda run: True
    """Whether the config asks for the stage at all."""
    scratch: str | None = None
    """The folder from which a stopped stage goes on: removed once the stage is recorded as done, never before."""

    def input_hash(self, run: Run) -> str:
        return sha256_value(self.inputs(run))


def load_stage(where: str) -> Stage:
    """The stage that `MODULE:NAME` names. The folders train, filter and eval are reached in this way alone: the core
    must import none of them by a statement."""
    module, _, name = where.partition(":")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, Stage), f"{where} is no stage"
    return found
