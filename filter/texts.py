"""What the texts alone say, made at a signal's first use and stored: clusters of rows that look alike, distance to the
safe set, and profanity.
"""

import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from forgetfilter.files import sha256_file
from forgetfilter.runs import Run
from forgetfilter.shards import read_manifest, whole

COLUMNS = ("cluster", "safe_distance", "profanity")
VERSION = 2  # of all that the columns depend on, filter/space.py too


def prepare(run: Run, columns: Collection[str]) -> None:
    """Writes the shards `id, COLUMN` of the noisy data to signals/texts/COLUMN, for those columns that lack.

    Raises Stopped by a signal; what was written stays.
    """
    safe = run.safe_data
    about = {name: {"data": read_manifest(run.signals("before")).get("data"), "version": VERSION} for name in columns}
    if "safe_distance" in about:
        about["safe_distance"]["safe"] = sha256_file(safe) if safe.exists() else None
    folder = run.signals("texts")
    lacking = {name: about[name] for name in columns if not _stored(folder / name, about[name])}
    if lacking:  # who only moves a threshold does not wait for torch
        importlib.import_module("forgetfilter.filter.reading").make(run, lacking)


def _stored(folder: Path, about: dict[str, Any]) -> bool:
    if not (folder / "manifest.json").exists():
        return False
    manifest = read_manifest(folder)
    return all(manifest.get(key) == value for key, value in about.items()) and whole(folder, manifest["rows"])
