"""The noisy rows in their original shape, so that the filter can return them in it.

The mix stage reads each row once, and leaves data/originals/manifest.json: where the rows of each source are, as JSON
Lines. A plain .jsonl file stays where it is and is known by its hash; rows of every other kind are written beside the
manifest. Together these rows are the records of data/noisy.jsonl in their order, without the probes, but with the rows
that the mix stage left out; the manifest counts those.
"""

import base64
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.sources import Row, data_files
from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path, finite, read_object, sha256_file, write_json


@dataclass(frozen=True)
class Original:
    """The rows of one source, as JSON Lines."""

    source: str
    """Its key in data.noisy."""
    path: str
    """The file; a name without a folder is beside the manifest."""
    rows: int
    """The number of rows that were taken, from the first on, without blank lines."""
    left_out: list[int] = field(default_factory=list)
    """The numbers of those rows, from 0 on, that are no records because a trusted set holds them too."""
    sha256: str | None = None
    """The hash of a file that the project did not write."""


class Originals:
    """Notes the rows of each source while they are read. A folder of earlier ones is deleted."""

    def __init__(self, folder: Path):
        self.folder, self.found = folder, list[Original]()
        self._count, self._left_out = 0, list[int]()
        shutil.rmtree(folder, ignore_errors=True)

    def keep(self, name: str, source: SourceConfig, rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
        """Yields the rows unchanged, and notes how to find them again once all are read."""
        files = data_files(source, f"data.noisy.{name}")
        self._count, self._left_out = 0, []
        if len(files) == 1 and files[0].suffix.lower() == ".jsonl":
            path, digest = str(files[0].resolve()), sha256_file(files[0])
            for self._count, named in enumerate(rows, 1):
                yield named
        else:
            path, digest = f"{len(self.found)}.jsonl", None
            with atomic_path(self.folder / path) as temporary, open(temporary, "wb") as handle:
                for self._count, (where, row) in enumerate(rows, 1):
                    handle.write(_line_of(row, where))
                    yield where, row
        self.found.append(Original(name, path, self._count, self._left_out, digest))

    def leave_out(self) -> None:
        """Notes that the row that was read last is not among the records."""
        self._left_out.append(self._count - 1)

    def finish(self, records: Path) -> None:
        """Writes the manifest with the hash of the records that were made of these rows; without a source there is
        none."""
        if self.found:
            found = [asdict(original) for original in self.found]
            write_json(self.folder / "manifest.json", {"records": sha256_file(records), "sources": found})


def find(folder: Path, records: Path) -> list[Original]:
    """The originals of a run in the order of its records, with absolute paths; empty where none were noted.

    UserError where a file is gone or changed since the records were made of it.
    """
    if not (folder / "manifest.json").exists():
        return []
    manifest = read_object(folder / "manifest.json")
    if manifest.get("records") != sha256_file(records):
        raise UserError(f"{records} changed since the mix stage: delete {folder.parent} and run again")
    found = [Original(**entry | {"path": str(folder / entry["path"])}) for entry in manifest["sources"]]
    for original in found:
        if original.sha256 and sha256_file(Path(original.path)) != original.sha256:
            raise UserError(f"{original.path} changed since the mix stage: delete {folder.parent} and run again")
        if not Path(original.path).is_file():
            raise UserError(f"{original.path} is missing: delete {folder.parent} and run again")
    return found


def _line_of(row: Row, where: str) -> bytes:
    try:
        return to_line(row)
    except RecursionError as error:
        raise UserError(f"{where}: nested too deep") from error


def to_line(row: Row) -> bytes:
    """A row as a line of JSON. Of what JSON lacks, dates and decimals become texts, bytes become base64, and NaN
    becomes null."""
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_as_text)
    except ValueError:
        text = json.dumps(finite(row), ensure_ascii=False, default=_as_text)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can hold
        return json.dumps(json.loads(text)).encode() + b"\n"


def _as_text(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
