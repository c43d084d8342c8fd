"""Weights & Biases: one W&B run for each stage over all its restarts, offline without a key or a server.

Of the user's repository nothing is read (no code, no differences), and files stay on the machine unless
tracking.upload asks for them: an artifact then holds copies in the place of their places and sizes.
"""

import base64
import hashlib
import importlib.util
import os
import re
import secrets
import shlex
import socket
import threading
import urllib.parse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetfilter.config.schema import TrackingConfig
from forgetfilter.errors import reason
from forgetfilter.files import read_json, write_json
from forgetfilter.process.environment import without_secrets
from forgetfilter.process.progress import console
from forgetfilter.process.tracked_run import Artifact, Cell, Origin

REACH = 5.0  # seconds within which W&B's server must answer
BEGIN = 30.0  # seconds within which it must accept a run
SECRETS = ("WANDB", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")  # those that its process needs
LONGEST_TAG, LONGEST_NAME = 64, 128  # characters of a tag and of an artifact's name that W&B takes


class WandbRun:
    """One W&B run.

    W&B's own process may die at any time, and it does when Slurm preempts the job, because Slurm signals every process
    of the job.
    """

    title = "W&B"

    def __init__(self, config: TrackingConfig, chosen: str, origin: Origin, reach: float = REACH):
        """`chosen` is online or offline; the server must answer within `reach` seconds. Raises what W&B raises."""
        os.environ.setdefault("WANDB_SILENT", "true")
        self.folder, self.upload = origin.folder, config.upload
        kept = origin.folder / "wandb"
        if chosen == "online" and (trouble := unreachable(reach)):
            console.print(f"W&B is not reachable ({trouble}): kept offline in {kept}, for wandb sync")
            chosen = "offline"
        options = _options(config, origin)
        try:
            self.run = _init(chosen, options)
        except Exception as error:  # no right to the project, an old key
            if chosen != "online":
                raise
            console.print(f"W&B takes no run ({reason(error)}): kept offline in {kept}, for wandb sync")
            self.abandon()  # its service still holds the id of the run that was refused
            chosen = "offline"
            self.run = _init(chosen, options)
        self.online = chosen == "online"
        if self.online:
            console.print(f"W&B: {self.run.url}")

    def log(self, values: dict[str, float], step: int | None) -> None:
        self.run.log(values, step=step)

    def summary(self, values: dict[str, float]) -> None:
        self.run.summary.update(values)

    def table(self, name: str, columns: list[str], rows: list[list[Cell]]) -> None:
        import wandb

        self.run.log({name: wandb.Table(columns=[*columns], data=rows)})

    def histogram(self, name: str, counts: NDArray[np.int64], edges: NDArray[np.float64]) -> None:
        import wandb

        self.run.log({name: wandb.Histogram(np_histogram=(counts, edges))})

    def lineage(self, used: Sequence[Artifact], made: Sequence[Artifact]) -> None:
        """What is used can be linked online alone, so its digest is noted among the settings too."""
        inputs = [self._artifact(one) for one in used]
        self.run.config.update({"used": {one.name: one.digest for one in inputs}}, allow_val_change=True)
        for one in inputs if self.online else ():
            self.run.use_artifact(one)
        for one in made:
            self.run.log_artifact(self._artifact(one))

    def _artifact(self, artifact: Artifact) -> Any:
        import wandb

        name = re.sub(r"[^\w.-]", "_", f"{self.folder.name}-{artifact.name}", flags=re.ASCII)[-LONGEST_NAME:]
        made: Any = wandb.Artifact(name, artifact.kind)
        for place, file in artifact.files.items():
            if self.upload:
                made.add_file(str(file), name=place)
            else:
                (entry,) = made.add_reference(file.resolve().as_uri(), name=place, checksum=False)
                entry.digest = digest_of(file)
        return made

    def finish(self) -> None:
        self.run.finish()

    def abandon(self) -> None:
        import wandb

        with suppress(Exception):
            wandb.teardown()  # otherwise W&B tries again when Python ends, and prints a traceback


def digest_of(file: Path) -> str:
    """A sum of a file's place, size and time, which change with every writing. The content of a model of many gigabytes
    is not read for it, since the other ranks would wait meanwhile."""
    seen = file.stat()
    parts = f"{file.resolve()}\n{seen.st_size}\n{seen.st_mtime_ns}"
    return base64.b64encode(hashlib.md5(parts.encode(), usedforsecurity=False).digest()).decode()


def _options(config: TrackingConfig, origin: Origin) -> dict[str, Any]:
    folder, stage = origin.folder, origin.stage
    options = {"project": config.project, "entity": config.entity, "config": origin.settings | origin.facts}
    options |= {"id": run_id(folder, stage), "name": f"{folder.name}/{stage}", "group": folder.name, "job_type": stage}
    return options | {"dir": str(folder), "tags": [tag[:LONGEST_TAG] for tag in origin.tags]}


def _init(chosen: str, options: dict[str, Any]) -> Any:
    import wandb

    # it would tell the repository of the current folder: its address, in which tokens stand, and what was changed
    limits = wandb.Settings(init_timeout=BEGIN, disable_git=True, disable_code=True)
    with without_secrets(but=SECRETS):  # they would be in the environment of W&B's own process
        return wandb.init(mode=chosen, resume="allow", settings=limits, **options)  # type: ignore[arg-type]


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


def how_to_sync(folder: Path) -> str | None:
    """The command that uploads what a run folder keeps offline; None where it keeps nothing."""
    kept = any((folder / "wandb").glob("offline-run-*"))
    return f"wandb sync --yes {shlex.quote(str(folder / 'wandb'))}/offline-run-*" if kept else None


def unreachable(seconds: float) -> str | None:
    """Why no connection to W&B's server, or to the proxy before it, can be made in that time; None if it can."""
    import wandb

    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address = urllib.parse.urlsplit(proxy or os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url)
    place = (address.hostname or "", address.port or (443 if address.scheme == "https" else 80))
    found: list[str | None] = []
    # in a thread, because looking up a name may take minutes
    asking = threading.Thread(target=lambda: found.append(_connected(place, seconds)), daemon=True)
    asking.start()
    asking.join(seconds)
    return found[0] if found else f"no answer from {place[0]} in {seconds:g} s"


def _connected(place: tuple[str, int], seconds: float) -> str | None:
    try:
        socket.create_connection(place, timeout=seconds).close()
    except TimeoutError:
        return f"no answer from {place[0]} in {seconds:g} s"
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
