"""The noisy rows as they came, so that the filter can give them back in the shape in which they were given.

The mix stage reads each row once, and leaves data/originals/manifest.json: where the rows of each source are, as JSON
Lines. A plain .jsonl file stays where it is and is known by its hash; rows of every other kind are written beside the
manifest. Together they are the records of data/noisy.jsonl, one for one and in order, without the probes.
"""

import base64
import json
import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.sources import Row
from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path, read_json, sha256_file, write_json


@dataclass(frozen=True)
class Original:
    """The rows of one source, as JSON Lines."""

    source: str
    """Its key in data.noisy."""
    path: str
    """The file; a name without a folder is beside the manifest."""
    rows: int
    """How many were taken: the first of the file, blank lines not counted."""
    sha256: str | None = None
    """Of a file that the project did not write."""


class Originals:
    """Notes the rows of each source while they are read. A folder of earlier ones is deleted."""

    def __init__(self, folder: Path):
        self.folder, self.found = folder, list[Original]()
        shutil.rmtree(folder, ignore_errors=True)

    def keep(self, name: str, source: SourceConfig, rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
        """The rows, unchanged; what is needed to have them again is noted once they are all read."""
        path, count = Path(source.path).expanduser().resolve(), 0
        if path.suffix.lower() == ".jsonl" and path.is_file():
            digest = sha256_file(path)
            for named in rows:
                count += 1
                yield named
            self.found.append(Original(name, str(path), count, digest))
            return
        own = self.folder / f"{len(self.found)}.jsonl"
        with atomic_path(own) as temporary, open(temporary, "wb") as handle:
            for where, row in rows:
                handle.write(to_line(row))
                count += 1
                yield where, row
        self.found.append(Original(name, own.name, count))

    def finish(self, records: Path) -> None:
        """Writes the manifest, with the hash of the records that were made of these rows; none without a source."""
        if self.found:
            found = [asdict(original) for original in self.found]
            write_json(self.folder / "manifest.json", {"records": sha256_file(records), "sources": found})


def find(folder: Path, records: Path) -> list[Original]:
    """The originals of a run in the order of its records, with whole paths; empty where none were noted.

    UserError where a file is gone or changed since the records were made of it.
    """
    if not (folder / "manifest.json").exists():
        return []
    manifest = read_json(folder / "manifest.json")
    if manifest["records"] != sha256_file(records):
        raise UserError(f"{records} changed since the mix stage: run the mix stage again")
    found = [Original(**entry | {"path": str(folder / entry["path"])}) for entry in manifest["sources"]]
    for original in found:
        if original.sha256 and sha256_file(Path(original.path)) != original.sha256:
            raise UserError(f"{original.path} changed since the mix stage: run the mix stage again")
        if not Path(original.path).is_file():
            raise UserError(f"{original.path} is missing: run the mix stage again")
    return found


def to_line(row: Row) -> bytes:
    """A row as a line of JSON. What JSON cannot hold: dates and decimals become text, bytes base64, NaN null."""
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_as_text)
    except ValueError:
        text = json.dumps(_finite(row), ensure_ascii=False, default=_as_text)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can hold
        return json.dumps(json.loads(text)).encode() + b"\n"


def _as_text(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
