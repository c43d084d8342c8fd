"""Reads back what W&B keeps of a run offline: the records of its .wandb file, which is a log of LevelDB's format."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7
WAIT = 30.0  # seconds


def records(file: Path) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2

    data, place, held = file.read_bytes(), HEADER, b""
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:  # the rest of a block is filled up
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
        held += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield wandb_internal_pb2.Record.FromString(held)
            held = b""


def _written(file: Path) -> list[Any]:
    """All records, once W&B's process has written the last: it may do so a little after `finish` has returned."""
    until = time.monotonic() + WAIT
    while not (read := [*records(file)]) or read[-1].WhichOneof("record_type") != "exit":
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    return read


class Kept:
    """The offline runs of one stage, as W&B joins them: its settings, curves, summary, artifacts and tables."""

    def __init__(self, folder: Path, stage: str):
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.tags: list[str] = []
        for run in sorted(folder.glob("wandb/offline-run-*")):
            read = _written(next(run.glob("*.wandb")))
            if next(record.run.job_type for record in read if record.WhichOneof("record_type") == "run") == stage:
                self.folder = run
                for record in read:
                    self._take(record)

    def _take(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            self.tags = list(record.run.tags)
            self.config |= _values(record.run.config.update)
        if kind == "config":
            self.config |= _values(record.config.update)
        if kind == "summary":
            self.summary |= _values(record.summary.update)
        if kind == "history":
            self.history.append(_values(record.history.item))
        if kind == "artifact":
            files = {entry.path: (entry.ref, entry.size) for entry in record.artifact.manifest.contents}
            self.artifacts[record.artifact.name] = files

    def table(self, name: str) -> list[dict[str, Any]]:
        (file,) = self.folder.glob(f"files/media/table/{name}_*.table.json")
        told = json.loads(file.read_text())
        return [dict(zip(told["columns"], row, strict=True)) for row in told["data"]]


def _values(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
