"""The tokens of a data file, which are made once in a content-addressed cache and read as a memory map."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from forgetfilter.data.kept_turns import holds_system
from forgetfilter.data.records import Message, Record, read_records
from forgetfilter.data.rendering import prompt_text, render
from forgetfilter.data.tokens import encode, tokenizer_identity
from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path, locked, read_json, sha256_file, sha256_value, write_json

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("num_prompt", pa.int32()),  # leading tokens that are not learned
    ]
)
CHUNK = 1024  # records tokenised and written together
CODE_VERSION = 2  # raise it when the tokens of an unchanged record change


@dataclass(frozen=True)
class Prepared:
    """A tokenised data set on disk, memory-mapped. Row i belongs to the i-th record of the data file."""

    path: Path
    identity: str
    summary: dict[str, int]

    @functools.cached_property
    def table(self) -> pa.Table:
        return pa.ipc.open_file(pa.memory_map(str(self.path))).read_all()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def lengths(self) -> np.ndarray[Any, Any]:
        """The number of tokens of each row, int64 [rows]."""
        return np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in self.table["input_ids"].chunks]).astype(
            np.int64
        )

    def num_labels(self) -> np.ndarray[Any, Any]:
        """The number of label tokens of each row, int64 [rows]."""
        labels: np.ndarray[Any, Any] = self.lengths() - self.table["num_prompt"].to_numpy()
        return labels

    def row(self, index: int) -> tuple[np.ndarray[Any, Any], int]:
        """(input_ids int32 [tokens], num_prompt) of a row."""
        return self.table["input_ids"][index].values.to_numpy(), self.table["num_prompt"][index].as_py()


def prepare(data: Path, tokenizer: Any, max_length: int, cache: Path) -> Prepared:
    """Tokenises a data file once, into a content-addressed cache. Call it before anything distributed starts.

    Rows are cut to `max_length` tokens, or to the model's context where that is shorter.
    """
    max_length = longest(tokenizer, max_length)
    identity = sha256_value(
        [CODE_VERSION, sha256_file(data), tokenizer_identity(tokenizer), tokenizer.chat_template, max_length]
    )
    folder = cache / "prepared" / identity[:32]
    with locked(folder):
        if not (folder / "summary.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            summary = _write(data, tokenizer, max_length, folder / "data.arrow")
            write_json(folder / "summary.json", summary)
    summary = read_json(folder / "summary.json")
    if not summary["rows"]:
        raise UserError(f"{data} holds no example")
    return Prepared(folder / "data.arrow", identity, summary)


def longest(tokenizer: Any, max_length: int) -> int:
    """The most tokens of a row. models.loading has set model_max_length to the context of the model."""
    return int(min(max_length, tokenizer.model_max_length))


def _write(data: Path, tokenizer: Any, max_length: int, path: Path) -> dict[str, int]:
    summary = {"rows": 0, "cut": 0, "tokens": 0, "label_tokens": 0, "system_left_out": 0}
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), SCHEMA) as writer:
        for chunk in _chunks(read_records(data)):
            try:
                encoded = encode(tokenizer, [record.messages for record in chunk], max_length)
            except UserError as error:
                raise _of_a_row(error, chunk, tokenizer, data, summary["rows"]) from error
            columns = [
                [record.id for record in chunk],
                [record.source for record in chunk],
                [ids for ids, _, _ in encoded],
                [num_prompt for _, num_prompt, _ in encoded],
            ]
            writer.write_batch(pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, SCHEMA)], schema=SCHEMA))
            summary["rows"] += len(chunk)
            summary["cut"] += sum(cut for _, _, cut in encoded)
            summary["tokens"] += sum(len(ids) for ids, _, _ in encoded)
            summary["system_left_out"] += sum(_leaves_out_system(tokenizer, record.prompt) for record in chunk)
            summary["label_tokens"] += sum(len(ids) - num_prompt for ids, num_prompt, _ in encoded)
    return summary


def _leaves_out_system(tokenizer: Any, prompt: list[Message]) -> bool:
    asked = any(message["role"] == "system" for message in prompt)
    return asked and not holds_system(prompt_text(tokenizer, prompt), prompt)


def _of_a_row(error: UserError, chunk: list[Record], tokenizer: Any, data: Path, before: int) -> UserError:
    """The template's error with the row that it refuses."""
    for number, record in enumerate(chunk, before + 1):
        try:
            render(tokenizer, record.messages)
        except UserError as own:
            return UserError(f"{data} line {number} (source {record.source}): {own}")
    return error


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
