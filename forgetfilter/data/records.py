"""The one record of the project: an example with an id made from its content.

A record is a chat whose last message is the assistant's. This message is learned, and with learn=all those of the
assistant before it are too. Plain text is a chat of one message, without a prompt. `id` is the sha256 of the canonical
messages; the n-th exact duplicate in a data set gets `-n` appended. The id is the only join key, everywhere.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from forgetfilter.config.schema import ROLES
from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": TEXT}
CALL = re.compile(r"<tool_call>\n.*?\n</tool_call>", re.DOTALL)  # as data/messages.py writes a call
Learn = Literal["all", "last"]
LABELS = ("unsafe", "safe", "task")  # known only in experiments; they measure the filter and never steer it


@dataclass(frozen=True)
class Record:
    """One example. `label` is None wherever nobody has said what the example is."""

    id: str
    messages: list[Message]
    source: str
    label: str | None = None
    learn: Learn = "last"
    """Which of the assistant's turns are learned. It is `all` only where that is more than the last one."""

    @property
    def prompt(self) -> list[Message]:
        """What comes before the last answer, and what generation starts from."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """The last answer, which a generated one is compared with."""
        return self.messages[-1]["content"]

    @property
    def answers(self) -> list[str]:
        """The texts that are learned."""
        return [self.messages[place]["content"] for place in learned_places(self.messages, self.learn)]

    @property
    def leaves_answers(self) -> bool:
        """Whether the assistant says or calls something in a turn that is not learned."""
        learned = {*learned_places(self.messages, self.learn)}
        others = (message for place, message in enumerate(self.messages) if place not in learned)
        return any(message["role"] == "assistant" and message["content"].strip() for message in others)

    @property
    def context(self) -> list[str]:
        """The texts that are not learned."""
        learned = {*learned_places(self.messages, self.learn)}
        return [message["content"] for place, message in enumerate(self.messages) if place not in learned]


def learned_places(messages: Sequence[Message], learn: Learn) -> list[int]:
    """Which of the messages are learned, as places in the list: the last one, and with `all` each earlier turn of the
    assistant that says something. One that holds nothing but tool calls is context, as their results are."""
    earlier = enumerate(messages[:-1] if learn == "all" else [])
    said = (place for place, turn in earlier if turn["role"] == "assistant" and CALL.sub("", turn["content"]).strip())
    return [*said, len(messages) - 1]


def content_id(messages: list[Message]) -> str:
    """sha256 of the messages in canonical JSON: the roles and contents, nothing else."""
    canonical = json.dumps([[m["role"], m["content"]] for m in messages], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def make_records(examples: Iterable[tuple[list[Message], str, str | None]], learn: Learn = "last") -> Iterator[Record]:
    """Records from (messages, source, label); exact duplicates are numbered in their order. `learn` as data.learn."""
    seen: Counter[str] = Counter()
    for messages, source, label in examples:
        base = content_id(messages)
        ordinal = seen[base]
        seen[base] += 1
        own: Learn = "all" if len(learned_places(messages, learn)) > 1 else "last"
        yield Record(f"{base}-{ordinal}" if ordinal else base, messages, source, label, own)


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
            handle.write(json.dumps(_row(record), ensure_ascii=False) + "\n")
            count += 1
    return count


def _row(record: Record) -> dict[str, object]:
    """The fields of a line. `learn` is there only where several turns are learned, so that the others are the lines of
    before there was a choice."""
    row = asdict(record)
    return row if record.learn == "all" else {key: value for key, value in row.items() if key != "learn"}


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
        """The records of a block, one at a time. UserError names a line that is none."""
        with open(self.path, "rb") as handle:
            handle.seek(self.starts[block])
            for number, line in enumerate(islice(handle, self.rows), block * self.rows + 1):
                yield _record(_checked(line, f"{self.path} line {number}"))


def to_record(line: str | bytes) -> Record:
    """The record of a line of a run's own JSONL file."""
    return _record(json.loads(line))


def _record(row: Mapping[str, Any]) -> Record:
    return Record(row["id"], row["messages"], row["source"], row.get("label"), row.get("learn", "last"))
