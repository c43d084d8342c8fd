"""Weights & Biases: one run a stage, over any number of restarts and ranks; offline without a key; rank 0 only."""

import hashlib
import os
import secrets
import socket
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from forgetfilter.config.schema import TrackingConfig
from forgetfilter.errors import reason
from forgetfilter.files import read_json, write_json
from forgetfilter.process.distributed import world
from forgetfilter.process.progress import console

REACH = 5.0  # seconds in which a server must answer
BEGIN = 30.0  # and in which it must take a run


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
    console.print(f"W&B is not reachable, going on without it: {reason(error)}")


def mode(wanted: str) -> str:
    """online, offline or disabled: what `auto` means here, after W&B's own WANDB_MODE and WANDB_DISABLED.

    The key is only looked for, never read into a log.
    """
    if wanted != "auto":
        return wanted
    own = os.environ.get("WANDB_MODE", "").lower()
    if own == "disabled" or os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on"):
        return "disabled"
    if own in ("online", "offline", "dryrun"):
        return "offline" if own == "dryrun" else own
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

    os.environ.setdefault("WANDB_SILENT", "true")
    if chosen == "online" and (trouble := unreachable()):
        console.print(f"W&B is not reachable ({trouble}): kept offline in {folder / 'wandb'}, for wandb sync")
        chosen = "offline"
    options = {"project": config.project, "entity": config.entity, "config": settings, "dir": str(folder)}
    options |= {"id": run_id(folder, stage), "name": f"{folder.name}/{stage}", "group": folder.name, "job_type": stage}
    tracker = Tracker(_begun(chosen, options))
    try:
        yield tracker
    finally:
        tracker.finish()


def _begun(chosen: str, options: dict[str, Any]) -> Any:
    """A W&B run; an offline one where the server takes none (no right to the project, an old key), None without any."""
    import wandb

    try:
        limits = wandb.Settings(init_timeout=BEGIN)
        return wandb.init(mode=chosen, resume="allow", settings=limits, **options)  # type: ignore[arg-type]
    except Exception as error:
        if chosen != "online":
            _without(error)
            return None
        where = Path(options["dir"]) / "wandb"
        console.print(f"W&B takes no run ({reason(error)}): kept offline in {where}, for wandb sync")
        with suppress(Exception):
            wandb.teardown()  # its service still holds the id of the run that was refused
        return _begun("offline", options)


def unreachable() -> str | None:
    """Why W&B's server, or the proxy before it, cannot be connected to; None where it can. It takes REACH seconds."""
    import wandb

    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address = urllib.parse.urlsplit(proxy or os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url)
    place = (address.hostname or "", address.port or (443 if address.scheme == "https" else 80))
    found: list[str | None] = []
    asking = threading.Thread(target=lambda: found.append(_connected(place)), daemon=True)  # names may take minutes
    asking.start()
    asking.join(REACH)
    return found[0] if found else f"no answer from {place[0]} in {REACH:.0f} s"


def _connected(place: tuple[str, int]) -> str | None:
    try:
        socket.create_connection(place, timeout=REACH).close()
    except OSError as error:
        return f"{place[0]}: {error.strerror or error}"
    return None


def run_id(folder: Path, stage: str) -> str:
    """The id of the W&B run of a stage: the same after every restart, and another one in a new folder."""
    folder = folder.resolve()
    note = folder / "tracking.json"
    if not note.exists():
        earlier = (folder / "wandb").exists()  # tracked before the folder had a name of its own
        write_json(note, {"id": "" if earlier else secrets.token_hex(8)})
    own = read_json(note)["id"]
    return hashlib.sha256(f"{folder}\n{stage}{own}".encode()).hexdigest()[:16]
