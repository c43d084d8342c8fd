"""The run folder: its config, the state of its stages, and the versions that made it."""

import contextlib
import datetime
import importlib.metadata
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from forgetfilter import __version__
from forgetfilter.config.load import differing_keys, load_config, to_dict, to_written, to_yaml
from forgetfilter.config.references import Place, dotted, fingerprint, put, value_at
from forgetfilter.config.schema import AUTO_NUMBERS, Config, FilterConfig, number
from forgetfilter.errors import Stopped, UserError
from forgetfilter.files import read_json, write_json, write_text
from forgetfilter.process.environment import plain_environment
from forgetfilter.process.passes import measured, start_measures
from forgetfilter.process.tracking import Tracker, tracked
from forgetfilter.storage import run_lock, sums
from forgetfilter.storage.results import read_state
from forgetfilter.storage.run_paths import RunPaths

Files = Mapping[str, str | None] | None
"""The contents of the files from outside that a stage reads, as `Task.foreign` gives them."""
FREE = ("output", "cache", "launch", "tracking")  # where a run lies, how many ranks it uses, and who watches
AUTO_PLACES: dict[Place, int] = {tuple(key.split(".")): auto for key, auto in AUTO_NUMBERS.items()}
FORMAT = 1  # of run folders; raise it where an older program would misread what this one writes
NOTED = "environment.json"  # hashes of the settings that config.yaml has by reference
PACKAGES = ("torch", "transformers", "deepspeed", "peft", "bitsandbytes", "datasets", "polars", "pyarrow")


@dataclass(frozen=True, eq=False)
class Run(RunPaths):
    """One run folder with its settings. Only the orchestrating process (or rank 0) writes its state."""

    config: Config

    @classmethod
    def create(cls, config: Config, resume: bool = False, check: Callable[[], None] = lambda: None) -> "Run":
        """Makes or reopens the folder output/name. `check` may refuse it before anything is written.

        Other settings than the folder was made with are refused with their keys, unless `resume` is given; then the
        stages whose inputs changed are done again. As long as no stage got anywhere, other settings are allowed, so
        that a mistake can be corrected.
        """
        folder = folder_of(config)
        reopened = (folder / "config.yaml").exists() and not resume and _holds_work(folder)
        if reopened and (changes := cls.open(folder).changed_settings(config)):
            raise UserError(
                f"{folder} was made with other settings ({'; '.join(changes)}): "
                "give name=NEW for a new run, or --resume to redo what changed"
            )
        run = cls(folder, config)
        check()
        run.write_config()
        return run

    @classmethod
    def open(cls, folder: Path, overrides: list[str] | tuple[str, ...] = ()) -> "Run":
        """An existing run folder, with its own config and perhaps overrides (not written back)."""
        if not (folder / "config.yaml").exists():
            raise UserError(f"{folder} is no run folder: it has no config.yaml")
        _check_format(folder)
        return cls(folder, load_config(folder / "config.yaml", overrides, own=True))

    def write_config(self) -> None:
        noted = {dotted(place): fingerprint(one.value) for place, one in self.config.references.items()}
        if noted:
            write_json(self.folder / NOTED, noted)
        else:
            (self.folder / NOTED).unlink(missing_ok=True)
        header = "".join(f"# {key}: {value}\n" for key, value in {**versions(), "format": FORMAT}.items())
        write_text(self.folder / "config.yaml", header + to_yaml(self.config))

    def changed_settings(self, new: Config) -> list[str]:
        """`key: old -> new` of the settings by which a run of the other configuration would not be this one."""
        old_values, new_values = to_dict(self.config), to_dict(new)
        taken = {place for one in (self.config, new) for place in one.references if place[0] not in FREE}
        old, plain = (_identity(put(values, dict.fromkeys(taken))) for values in (old_values, new_values))
        noted = read_json(self.folder / NOTED) if (self.folder / NOTED).exists() else {}
        before = {place: noted.get(dotted(place)) or fingerprint(value_at(old_values, place)) for place in taken}
        after = {place: fingerprint(value_at(new_values, place)) for place in taken}
        other = sorted(dotted(place) for place in taken if before[place] != after[place])
        return differing_keys(old, plain) + [f"{key}: another value than it was made with" for key in other]

    @property
    def filtering(self) -> FilterConfig:
        """The section `filter` with what `auto` stands for in this run."""
        return self.config.filtering_with(self.probes.exists())

    def tracker_of(self, stage: str) -> Callable[[], AbstractContextManager[Tracker]]:
        """What opens the tracker of a stage, which tells the versions, the commit and the hashes of the data."""

        def about() -> tuple[dict[str, Any], list[str]]:
            left = sums.hashes(self.folder, "mix") | sums.hashes(self.folder, "filter")
            data = {name: known for name, known in left.items() if name.endswith(".jsonl")}
            made_by = versions()
            marks = {"forgetfilter": made_by["forgetfilter"], "commit": made_by["commit"].replace("unknown", "")}
            marks["data"] = data.get("data/noisy.jsonl", "")
            tags = [f"{name} {mark[:12]}" for name, mark in marks.items() if mark]
            return {"versions": made_by, "data_hashes": data}, tags

        return partial(tracked, self.config.tracking, self.folder, stage, to_written(self.config), about)

    # -- stages ---------------------------------------------------------------------------------------------

    def is_done(self, stage: str, input_hash: str, foreign: Files = None) -> bool:
        return self.started_with(stage, input_hash, foreign) and self.state()[stage].get("status") == "done"

    def started_with(self, stage: str, input_hash: str, foreign: Files = None) -> bool:
        """Whether unfinished work of this stage was begun with the same inputs, so that it can go on.

        `foreign` names the files from outside that the stage reads, such as the model's. None does not compare them,
        and a file that a record from before does not note fits any.
        """
        entry = self.state().get(stage, {})
        noted = entry.get("foreign") or {}
        same = all(noted.get(name, known) == known for name, known in (foreign or {}).items())
        return same and bool(entry.get("input_hash") == input_hash)

    def note_foreign(self, stage: str, foreign: Mapping[str, str | None]) -> None:
        """Adds the files from outside to a record that lacks them, so that their next change is noticed."""
        entry = self.state()[stage]
        if foreign.keys() - (noted := entry.get("foreign") or {}):
            self._set(stage, entry | {"foreign": {**foreign, **noted}})

    def take_over(self, stage: str, entry: dict[str, Any]) -> None:
        """Records a stage as another run has it, whose files of the stage were taken over."""
        self._set(stage, entry)

    @contextlib.contextmanager
    def stage(
        self,
        name: str,
        input_hash: str,
        world_size: int = 1,
        stands: Callable[[], bool] = lambda: False,
        foreign: Files = None,
        read: object = None,
    ) -> Iterator[None]:
        """Records a stage's status, start, seconds, passes, peak memory and world size; `done` is written last of all.

        `read` tells the weights that it reads, {stage: identity}, so that later nobody has to believe the clock.
        `stands` says whether the earlier outcome is whole. If it is, a try that is refused (UserError) leaves the
        earlier record as it is.
        """
        earlier = self.state().get(name, {})
        same = self.started_with(name, input_hash, foreign)
        spent, passes = (earlier.get("seconds", 0.0), earlier.get("passes", {})) if same else (0.0, {})
        start = time.monotonic()
        start_measures(self.folder)
        entry = {
            "status": "running",
            "input_hash": input_hash,
            "start": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": spent,
            "world_size": world_size,
            "passes": passes,
        }
        entry |= {key: value for key, value in (("foreign", foreign), ("read", read)) if value is not None}
        self._set(name, entry)
        status = "failed"
        try:
            yield
            status = "done"
        except (Stopped, KeyboardInterrupt):
            status = "stopped"
            raise
        except UserError:
            if earlier.get("status") == "done" and stands():
                entry = earlier
            raise
        finally:
            found = measured(self.folder)
            found["passes"] = passes | found["passes"]  # of a pass that was resumed, its last part
            ended = {"status": status, "seconds": round(spent + time.monotonic() - start, 2)} | found
            # where the disk is full the state cannot be written either, and the stage's own error says more
            with contextlib.suppress(*(() if status == "done" else (OSError, UserError))):
                self._set(name, entry if entry is earlier else entry | ended)

    def _set(self, name: str, entry: dict[str, Any]) -> None:
        write_json(self.folder / "state.json", self.state() | {name: entry})


def _check_format(folder: Path) -> None:
    """UserError for a run folder of a later format. One from before formats were noted is read as the first."""
    noted = re.search(rb"^# format: (\d{1,9})$", (folder / "config.yaml").read_bytes(), re.MULTILINE)
    if noted and int(noted[1]) > FORMAT:
        which = f"its format is {int(noted[1])}, and this one reads up to {FORMAT}"
        raise UserError(f"{folder} was made by a newer forgetfilter: {which}")


def config_of(target: Path, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """The configuration of a file or of a run folder, with overrides."""
    return Run.open(target, overrides).config if target.is_dir() else load_config(target, overrides)


def folder_of(config: Config) -> Path:
    """Where the run of a configuration lies."""
    return Path(config.output).expanduser() / config.name


@contextlib.contextmanager
def no_idle_folder(folder: Path) -> Iterator[None]:
    """Removes a run folder that was not there before, where it is refused what is done within and no stage got
    anywhere."""
    there = folder.exists()
    try:
        yield
    except UserError:
        others = (folder / run_lock.NAME).exists()  # who was refused because another process is at work on it
        if not there and folder.is_dir() and not others and not _holds_work(folder):
            for name in ("state.json", NOTED, "tracking.json", "config.yaml"):
                (folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something of another's lies there
                folder.rmdir()
        raise


def versions() -> dict[str, str]:
    """The versions that make a result: the project, its commit in a checkout, Python, and the packages."""
    found = {"forgetfilter": __version__, "commit": _commit(), "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _commit() -> str:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "unknown"
    # With the whole environment a GIT_DIR, which git sets for its hooks, would name the commit of another repository.
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, env=plain_environment())
    return result.stdout.strip() or "unknown"


def _holds_work(folder: Path) -> bool:
    return any(entry.get("status") != "failed" for entry in read_state(folder).values())


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    """The settings by which runs are told apart."""
    chosen = {place: number(value_at(config, place), auto) for place, auto in AUTO_PLACES.items()}
    return {key: value for key, value in put(config, chosen).items() if key not in FREE}
