"""Logs to Weights & Biases from rank 0, with one W&B run for each stage over all restarts; offline without a key."""

import hashlib
import importlib.util
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
from forgetfilter.process.environment import without_secrets
from forgetfilter.process.progress import console

REACH = 5.0  # seconds within which W&B's server must answer
BEGIN = 30.0  # seconds within which it must accept a run
W_AND_B = ("WANDB", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")  # the secrets that its process needs


class Tracker:
    """Logs to a W&B run, or to nowhere.

    Tracking must never cost a training. W&B's own process may die at any time, and it does when Slurm preempts the job,
    because Slurm signals every process of the job. metrics.jsonl has what W&B then lacks.
    """

    def __init__(self, run: Any = None):
        self.run = run

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        with self._or_without():
            if self.run is not None:
                self.run.log({key: value for key, value in values.items() if value is not None}, step=step)

    def table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Logs a W&B table, in which None is an empty cell."""
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
                wandb.teardown()  # otherwise W&B tries again when Python ends, and prints a traceback


def _without(error: Exception) -> None:
    console.print(f"W&B is not reachable, going on without it: {reason(error)}")


def mode(wanted: str) -> str:
    """online, offline or disabled. `auto` follows WANDB_MODE and WANDB_DISABLED, and then whether there is a key; it is
    disabled where wandb is not installed.

    The key itself is never logged.
    """
    if wanted != "auto":
        return wanted
    own = os.environ.get("WANDB_MODE", "").lower()
    if (
        importlib.util.find_spec("wandb") is None
        or own == "disabled"
        or os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on")
    ):
        return "disabled"
    if own in ("online", "offline", "dryrun"):
        return "offline" if own == "dryrun" else own
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    keyed = os.environ.get("WANDB_API_KEY") or (netrc.exists() and "wandb" in netrc.read_text(errors="replace"))
    return "online" if keyed else "offline"


@contextmanager
def tracked(config: TrackingConfig, folder: Path, stage: str, settings: dict[str, Any]) -> Iterator[Tracker]:
    """A tracker for one stage of the run in `folder`, with the same W&B run each time the stage is restarted."""
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
    """A W&B run, which is offline if the server accepts none (no right to the project, an old key), or None."""
    import wandb

    try:
        # W&B would tell the address of the repository, in which tokens stand; it tells the commit alone.
        limits = wandb.Settings(init_timeout=BEGIN, git_remote_url="")
        with without_secrets(but=W_AND_B):  # they would be in the environment of W&B's own process
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
    """Why no connection to W&B's server, or to the proxy before it, can be made; None if it can.

    Waits REACH seconds.
    """
    import wandb

    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address = urllib.parse.urlsplit(proxy or os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url)
    place = (address.hostname or "", address.port or (443 if address.scheme == "https" else 80))
    found: list[str | None] = []
    # in a thread, because looking up a name may take minutes
    asking = threading.Thread(target=lambda: found.append(_connected(place)), daemon=True)
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
    """The id of a stage's W&B run. It is the same after every restart, and another one in a new folder."""
    folder = folder.resolve()
    note = folder / "tracking.json"
    if not note.exists():
        earlier = (folder / "wandb").exists()  # an older version tracked the run by its folder's name alone
        write_json(note, {"id": "" if earlier else secrets.token_hex(8)})
    own = read_json(note)["id"]
    return hashlib.sha256(f"{folder}\n{stage}{own}".encode()).hexdigest()[:16]
