"""Weights & Biases: one run a stage, over any number of restarts and ranks; offline without a key; rank 0 only."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from forgetfilter.config.schema import TrackingConfig
from forgetfilter.process.distributed import world
from forgetfilter.process.progress import console


class Tracker:
    """Logs to a W&B run, or to nowhere. Tracking must never cost a training: W&B's own process may die at any time, and
    does when Slurm preempts the job, which sends the signal to all there is; what it lacks is in metrics.jsonl."""

    def __init__(self, run: Any = None):
        self.run = run

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        with self._or_without():
            if self.run is not None:
                self.run.log({key: value for key, value in values.items() if value is not None}, step=step)

    def table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A W&B table; None stays an empty cell."""
        with self._or_without():
            if self.run is not None:
                import wandb

                self.run.log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])})

    def finish(self) -> None:
        with self._or_without():
            if self.run is not None:
                self.run.finish()

    @contextmanager
    def _or_without(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.run = None
            _without(error)
            import wandb

            with suppress(Exception):
                wandb.teardown()  # else it tries again when Python ends, and prints a traceback


def _without(error: Exception) -> None:
    console.print(f"W&B is not reachable, going on without it: {(str(error) or type(error).__name__).splitlines()[0]}")


def mode(wanted: str) -> str:
    """online, offline or disabled: what `auto` means here. The key is only looked for, never read into a log."""
    if wanted != "auto":
        return wanted
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    keyed = os.environ.get("WANDB_API_KEY") or (netrc.exists() and "wandb" in netrc.read_text(errors="replace"))
    return "online" if keyed else "offline"


@contextmanager
def tracked(config: TrackingConfig, folder: Path, stage: str, settings: dict[str, Any]) -> Iterator[Tracker]:
    """A tracker for one stage of the run in `folder`: the same W&B run each time the stage is restarted."""
    chosen = mode(config.mode)
    if chosen == "disabled" or not world().is_main:
        yield Tracker()
        return
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        run = wandb.init(
            project=config.project,
            entity=config.entity,
            id=run_id(folder, stage),
            name=f"{folder.name}/{stage}",
            group=folder.name,
            job_type=stage,
            config=settings,
            dir=str(folder),
            mode=chosen,  # type: ignore[arg-type]
            resume="allow",
        )
    except Exception as error:
        _without(error)
        yield Tracker()
        return
    tracker = Tracker(run)
    try:
        yield tracker
    finally:
        tracker.finish()


def run_id(folder: Path, stage: str) -> str:
    return hashlib.sha256(f"{folder.resolve()}\n{stage}".encode()).hexdigest()[:16]
