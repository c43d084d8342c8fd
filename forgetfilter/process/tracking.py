"""Tracks a stage from rank 0: in Weights & Biases, in TensorBoard's files, or nowhere (tracking.backend).

A stage is one tracked run over all its restarts. Tracking must never cost a training: the first failure prints one
line, and the work goes on without it. metrics.jsonl has what is then missing.
"""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetfilter.config.schema import TrackingConfig
from forgetfilter.errors import UserError, reason
from forgetfilter.process.distributed import world
from forgetfilter.process.progress import console
from forgetfilter.process.tensorboard import TensorBoard
from forgetfilter.process.tracked_run import Artifact, Backend, Cell, Origin
from forgetfilter.process.weights_and_biases import WandbRun, mode

BINS = 64  # of a histogram


class Tracker:
    """Logs to a tracked run, or to nowhere."""

    def __init__(self, run: Backend | None = None):
        self.run = run

    def log(self, values: Mapping[str, float | None], step: int | None = None) -> None:
        """One point of each curve; None is a value that was not measured."""
        self._do(lambda run: run.log(_known(values), step))

    def summary(self, values: Mapping[str, float | None]) -> None:
        """Figures that stand for the whole run and have no curve."""
        self._do(lambda run: run.summary(_known(values)))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """A table, in which None is an empty cell."""
        self._do(lambda run: run.table(name, list(columns), [list(row) for row in rows]))

    def histogram(self, name: str, values: NDArray[np.float64]) -> None:
        """How values are spread, without those that are not finite; nothing where none is left."""
        finite = values[np.isfinite(values)]
        if len(finite):
            counts, edges = np.histogram(finite, BINS)
            self._do(lambda run: run.histogram(name, counts, edges))

    def lineage(self, used: Sequence[Artifact], made: Sequence[Artifact]) -> None:
        """What the stage has read and made; an artifact without files is left out."""
        self._do(lambda run: run.lineage([one for one in used if one.files], [one for one in made if one.files]))

    def finish(self) -> None:
        self._do(lambda run: run.finish())

    @contextmanager
    def or_without(self) -> Iterator[None]:
        """What fails inside ends the tracking, and nothing else."""
        run = self.run
        try:
            yield
        except Exception as error:
            if run is None:
                raise  # nothing was tracked: it is no error of the tracking
            if self.run is None:
                return  # it had ended already, which was told
            self.run = None
            _without(run.title, error)
            with suppress(Exception):
                run.abandon()

    def _do(self, call: Callable[[Backend], None]) -> None:
        if self.run is not None:
            with self.or_without():
                call(self.run)


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {key: value for key, value in values.items() if value is not None}


def _without(title: str, error: Exception) -> None:
    console.print(f"{title} failed, going on without it: {reason(error)}")


@contextmanager
def tracked(
    config: TrackingConfig,
    folder: Path,
    stage: str,
    settings: dict[str, Any],
    about: Callable[[], tuple[dict[str, Any], Sequence[str]]] = lambda: ({}, ()),
) -> Iterator[Tracker]:
    """A tracker for one stage of the run in `folder`, with the same tracked run each time the stage is restarted.

    `settings` are the configuration as a JSON value without secrets. `about` gives facts that stand beside them, and
    tags; it is called only where something is tracked.
    """
    tracker = Tracker(_begun(config, lambda: Origin(folder, stage, settings, *about())) if world().is_main else None)
    try:
        yield tracker
    finally:
        tracker.finish()


def _begun(config: TrackingConfig, origin: Callable[[], Origin]) -> Backend | None:
    """A tracked run, or None where none is wanted or none can be begun."""
    board = config.backend == "tensorboard"
    chosen = config.mode if board else mode(config.mode)
    if config.backend == "none" or chosen == "disabled":
        return None
    try:
        return TensorBoard(origin()) if board else WandbRun(config, chosen, origin())
    except Exception as error:
        _without(TensorBoard.title if board else WandbRun.title, error)
        return None


def check(config: TrackingConfig) -> None:
    """UserError where TensorBoard is wanted and not installed, before anything is trained."""
    wanted = config.backend == "tensorboard" and config.mode != "disabled"
    if wanted and importlib.util.find_spec("tensorboard") is None:
        raise UserError("tracking.backend: tensorboard is not installed: pip install tensorboard, or take another")
