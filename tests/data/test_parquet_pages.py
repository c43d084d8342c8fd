from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.parquet_pages import MEMORY, rows_at_once
from forgetfilter.data.sources import read_rows
from forgetfilter.errors import UserError

LONG = 20 << 20  # characters


def written(path: Path, table: pa.Table, **options: object) -> Path:
    pq.write_table(table, path, compression="zstd", **options)
    return path


def batch(path: Path) -> int:
    return rows_at_once(path, pq.ParquetFile(path).metadata)


def shared_text(count: int) -> pa.Table:
    """Rows that have one long text among them, stored once."""
    return pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0] * count), pa.array(["x" * LONG]))})


def test_a_long_value_of_a_dictionary_is_taken_a_few_rows_at_a_time(tmp_path: Path) -> None:
    # A value of 20 MiB that is stored once for 5,000 rows is read twelve rows at a time (240 MiB), where 1,024 rows
    # would take 20 GiB.
    path = written(tmp_path / "f.parquet", shared_text(5000), dictionary_pagesize_limit=2 * LONG, store_schema=False)
    assert path.stat().st_size < 10_000
    assert batch(path) == MEMORY // (LONG + 4) == 12  # a length of four bytes is stored before the text
    rows = read_rows(SourceConfig(str(path), limit=30), "data.noisy.n")
    assert [where.rsplit(" ", 1)[1] for where, row in rows if len(row["text"]) == LONG] == [*map(str, range(1, 31))]


def test_plain_texts_are_taken_by_the_thousand(tmp_path: Path) -> None:
    # Short values are read 1,024 rows at a time, with a dictionary and without one.
    table = pa.table({"text": [f"text {number}" for number in range(5000)], "kind": ["a", "b"] * 2500})
    assert batch(written(tmp_path / "a.parquet", table)) == 1024
    assert batch(written(tmp_path / "b.parquet", table, use_dictionary=False)) == 1024
    assert batch(written(tmp_path / "c.parquet", table.slice(0, 0))) == 1024


def test_a_value_in_lists_counts_as_often_as_rows_have_it(tmp_path: Path) -> None:
    # If a row has ten turns, a tenth of the rows is read at a time.
    turns = pa.array([["x" * (1 << 20)] * 10] * 3)
    path = written(tmp_path / "f.parquet", pa.table({"turns": turns}), dictionary_pagesize_limit=1 << 25)
    assert batch(path) == MEMORY // (10 * ((1 << 20) + 4))


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    # 100 MB of one letter in a few kB is refused, because no text shrinks so far.
    table = pa.table({"text": ["x" * 1_000_000] * 100})
    path = written(tmp_path / "f.parquet", table, use_dictionary=False)
    with pytest.raises(UserError, match=r"f.parquet: grows more than 100 times when unzipped"):
        next(read_rows(SourceConfig(str(path)), "data.noisy.n"))
