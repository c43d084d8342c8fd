"""The tokens of a data file, which are made once in a content-addressed cache and read as a memory map."""

import functools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from forgetfilter.data.tokenising import SCHEMA, tokenised
from forgetfilter.data.tokens import tokenizer_identity
from forgetfilter.data.turns import Encoded, Turn
from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path, locked, read_json, sha256_file, sha256_value, stamp, write_json
from forgetfilter.process.progress import console

FOLDER = "tokenised"  # of the cache; another one when SCHEMA changes and the tokens stay
SUM = "sum.json"  # the sum of the tokens' file, and its stamp then
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
        column = self.table["turns"].combine_chunks()
        places, turns = column.values.to_numpy().astype(np.int64), column.offsets.to_numpy() // 2
        so_far: np.ndarray[Any, Any] = np.append(0, np.cumsum(places[1::2] - places[::2]))
        return np.diff(so_far[turns])

    def named(self, rows: np.ndarray[Any, Any]) -> dict[str, pa.Array]:
        """The ids and sources of some rows."""
        return {name: taken(self.table[name], rows) for name in ("id", "source")}

    @functools.cached_property
    def several_answers(self) -> bool:
        """Whether more than one answer of some row is learned."""
        return bool(self.table["turns"].combine_chunks().value_lengths().to_numpy().max() > 2)

    def unread(self) -> pa.ChunkedArray:
        """The ids of the rows whose answers go on behind the cut, where nothing is learned or scored."""
        return self.table["id"].filter(self.table["unread"])

    def row(self, index: int) -> Encoded:
        """input_ids, int32 [tokens], and turns of a row."""
        return self.table["input_ids"][index].values.to_numpy(), self.turns(index)

    def turns(self, index: int) -> list[Turn]:
        places = self.table["turns"][index].as_py()
        return list(zip(places[::2], places[1::2]))


def taken(column: pa.ChunkedArray, rows: np.ndarray[Any, Any]) -> pa.Array:
    """The values of some rows. Arrow's own `take` joins all chunks of the column first, whatever is asked for."""
    return pa.array([column[row].as_py() for row in rows.tolist()], column.type)


def prepare(data: Path, tokenizer: Any, max_length: int, cache: Path) -> Prepared:
    """Tokenises a data file once, into a content-addressed cache. Call it before anything distributed starts.

    Rows are cut to `max_length` tokens, or to the model's context where that is shorter.
    """
    max_length = longest(tokenizer, max_length)
    identity = sha256_value(
        [CODE_VERSION, sha256_file(data), tokenizer_identity(tokenizer), tokenizer.chat_template, max_length]
    )
    folder = cache / FOLDER / identity[:32]
    with locked(folder):
        if not _whole(folder):
            folder.mkdir(parents=True, exist_ok=True)
            summary = _write(data, tokenizer, max_length, folder / "data.arrow")
            _note(folder, sha256_file(folder / "data.arrow"))
            write_json(folder / "summary.json", summary)
    summary = read_json(folder / "summary.json")
    if not summary.get("rows"):
        raise UserError(f"{data} holds no example")
    return Prepared(folder / "data.arrow", identity, summary)


def _whole(folder: Path) -> bool:
    """Whether the tokens are there as they were made. Their sum is compared where the file looks touched; a cache older
    than 2026-11-29 has none."""
    table, noted = folder / "data.arrow", folder / SUM
    if not (folder / "summary.json").exists() or not noted.exists():
        return (folder / "summary.json").exists()
    made, *stamped = read_json(noted)
    if not table.exists() or (stamped != stamp(table) and made != sha256_file(table)):
        console.print(f"{table} is damaged, and is made again", soft_wrap=True)
        return False
    if stamped != stamp(table):  # copied: not read again the next time
        _note(folder, made)
    return True


def _note(folder: Path, made: str) -> None:
    write_json(folder / SUM, [made, *stamp(folder / "data.arrow")])


def longest(tokenizer: Any, max_length: int) -> int:
    """The most tokens of a row. models.loading has set model_max_length to the context of the model."""
    return int(min(max_length, tokenizer.model_max_length))


def _write(data: Path, tokenizer: Any, max_length: int, path: Path) -> dict[str, int]:
    summary = Counter[str]()
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), SCHEMA) as writer:
        for batch, counts in tokenised(data, tokenizer, max_length):
            writer.write_batch(batch)
            summary.update(counts)
    return dict(summary)
