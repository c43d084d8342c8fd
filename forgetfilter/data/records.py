"""The one record of the project: an example with an id made from its content.

A record is a chat whose last message is the assistant's; this message is what is learned. Plain text is a chat
of that one message, without a prompt. `id` is the sha256 of the canonical messages; the n-th exact
duplicate in a data set gets `-n` appended. The id is the only join key, everywhere.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": TEXT}
ROLES = ("system", "user", "assistant", "tool")
LABELS = ("unsafe", "safe", "task")  # known only in experiments; they measure the filter and never steer it


@dataclass(frozen=True)
class Record:
    """One example. `label` is None wherever nobody has said what the example is."""

    id: str
    messages: list[Message]
    source: str
    label: str | None = None

    @property
    def prompt(self) -> list[Message]:
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        return self.messages[-1]["content"]


def content_id(messages: list[Message]) -> str:
    """sha256 of the messages in canonical JSON: the roles and contents, nothing else."""
    canonical = json.dumps([[m["role"], m["content"]] for m in messages], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def make_records(examples: Iterable[tuple[list[Message], str, str | None]]) -> Iterator[Record]:
    """Records from (messages, source, label); exact duplicates are numbered in their order."""
    seen: Counter[str] = Counter()
    for messages, source, label in examples:
        base = content_id(messages)
        ordinal = seen[base]
        seen[base] += 1
        yield Record(f"{base}-{ordinal}" if ordinal else base, messages, source, label)


def clean(text: str) -> str:
    """Text that UTF-8 can hold: surrogate pairs joined, lone surrogates replaced by U+FFFD. Idempotent."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Writes the records as JSON Lines, whole or not at all; returns their number."""
    count = 0
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        for record in records:
            handle.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")
            count += 1
    return count


def read_records(path: Path) -> Iterator[Record]:
    """The canonical records of a run's own JSONL file, one at a time."""
    return map(_record, read_record_rows(path))


def read_record_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a run's own JSONL file with all that their lines hold. UserError names a line that is none, as
    where a person has edited filter/kept.jsonl."""
    try:
        with open(path, "rb") as handle:
            for number, line in enumerate(handle, 1):
                yield _checked(line, f"{path} line {number}")
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: run the stage that writes it first") from error


def _checked(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        whole = isinstance(row["id"], str) and isinstance(row["source"], str) and is_chat(row["messages"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{where}: no whole record with id, messages and source") from error
    if not whole:
        raise UserError(f"{where}: no whole record with id, messages and source")
    found: dict[str, Any] = row
    return found


def is_chat(messages: object) -> bool:
    """Whether these are messages as records have them, the last of which can be learned."""
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(
            isinstance(one, dict) and one.get("role") in ROLES and isinstance(one.get("content"), str)
            for one in messages
        )
    )


@dataclass(frozen=True)
class RecordBlocks:
    """A run's own JSONL file in blocks of `rows` records, each of which is read when it is asked for.

    Only the position of each block is in memory, whatever the size of the file.
    """

    path: Path
    rows: int
    starts: list[int]
    """The first byte of each block."""
    count: int
    """Records in all."""

    @classmethod
    def of(cls, path: Path, rows: int) -> "RecordBlocks":
        """Finds the blocks of a file."""
        starts, place, count = list[int](), 0, 0
        try:
            with open(path, "rb") as handle:
                for count, line in enumerate(handle, 1):
                    if count % rows == 1 % rows:
                        starts.append(place)
                    place += len(line)
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing: run the mix stage first") from error
        return cls(path, rows, starts, count)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, block: int) -> list[Record]:
        return list(self.each(block))

    def each(self, block: int) -> Iterator[Record]:
        """The records of a block, one at a time."""
        with open(self.path, "rb") as handle:
            handle.seek(self.starts[block])
            yield from map(to_record, islice(handle, self.rows))


def to_record(line: str | bytes) -> Record:
    """The record of a line of a run's own JSONL file."""
    return _record(json.loads(line))


def _record(row: Mapping[str, Any]) -> Record:
    return Record(row["id"], row["messages"], row["source"], row.get("label"))
