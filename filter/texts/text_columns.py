"""Columns that are made of the texts alone, when a signal first needs them, and stored: clusters of rows that look
alike, the distance to the safe set, and profanity.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgetfilter.files import sha256_file
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import intact, read_manifest

if TYPE_CHECKING:
    from .forecast import Forecast

COLUMNS = ("cluster", "safe_distance", "profanity")
VERSION = 2  # of all that the columns depend on, filter/texts/clusters.py too


def prepare(paths: RunPaths, columns: Collection[str], nodes: int = 1) -> None:
    """Writes the shards `id, COLUMN` of the noisy data to signals/texts/COLUMN, for those columns that lack.

    Raises Stopped by a signal; what was written stays.
    """
    signals = paths.folder / "signals"
    make(paths, {name: about(signals, name) for name in columns if not stored(signals, name)}, nodes)


def make(paths: RunPaths, lacking: dict[str, dict[str, Any]], nodes: int, **forecasts: "Forecast") -> None:
    """The same for columns and what they depend on, each by its forecast where one is given."""
    if lacking:  # who only moves a threshold does not wait for torch
        from . import column_shards

        column_shards.make(paths, lacking, nodes, forecasts)


def stored(signals: Path, column: str) -> bool:
    """Whether a column is there, whole, and of the present data and safe set."""
    return made(signals / "texts" / column, about(signals, column))


def made(folder: Path, about: dict[str, Any]) -> bool:
    """Whether the shards of a column are there, whole, and of what it depends on."""
    if not (folder / "manifest.json").exists():
        return False
    manifest = read_manifest(folder)
    return manifest == about | {"rows": manifest["rows"]} and intact(folder, manifest["rows"])


def about(signals: Path, column: str) -> dict[str, Any]:
    """What a column depends on, for its manifest."""
    found = {"data": read_manifest(signals / "before").get("data"), "version": VERSION}
    safe = signals.parent / "data" / "safe.jsonl"
    if column == "safe_distance":
        found["safe"] = sha256_file(safe) if safe.exists() else None
    return found
