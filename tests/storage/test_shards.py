import io
import tempfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.errors import UserError
from forgetfilter.storage.shards import (
    COMPARABLE,
    LOSS_SCHEMA,
    check_comparable,
    evenly,
    merged,
    read_manifest,
    scan_shards,
    shard_path,
    shard_paths,
    write_manifest,
    write_shard,
)


def table(ids: list[str], rank: int = 0, epoch: int = 0) -> pa.Table:
    rows = [
        {"id": i, "source": "s", "num_tokens": 2, "loss_sum": 0.5, "rank": rank, "step": ord(i[0]), "epoch": epoch}
        for i in ids
    ]
    return pa.Table.from_pylist(rows, schema=LOSS_SCHEMA)


def merged_bytes(folder: Path, ids: list[str], world: int) -> bytes:
    for rank in range(world):
        mine = ids[rank::world]
        half = len(mine) // 2
        for part, some in enumerate((mine[:half], mine[half:])):
            write_shard(shard_path(folder, rank, part), table(some, rank))
    buffer = io.BytesIO()
    merged(folder, ids).write_parquet(buffer)
    return buffer.getvalue()


@settings(max_examples=15, deadline=None)
@given(st.permutations([f"{letter}{number}" for letter in "abc" for number in range(3)]))
def test_the_merge_is_the_same_for_1_2_and_3_ranks(ids: list[str]) -> None:
    # The bytes are the same, whoever wrote a row and in whatever order.
    with tempfile.TemporaryDirectory() as folder:
        made = [merged_bytes(Path(folder) / str(world), ids, world) for world in (1, 2, 3)]
    assert made[0] == made[1] == made[2]


def test_a_shard_is_whole_or_absent(tmp_path: Path) -> None:
    # Writing what is no table fails and leaves nothing, and a truncated shard is noticed and named.
    path = shard_path(tmp_path, 3, 7)
    assert path == tmp_path / "rank=00003" / "part-00007.parquet"
    with pytest.raises(AttributeError):
        write_shard(path, None)
    assert list(path.parent.iterdir()) == []
    write_shard(path, table(["a"]))
    assert shard_paths(tmp_path) == [path]
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"part-00007.parquet is truncated or not Parquet; delete it"):
        scan_shards(tmp_path)


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["a", "b", "a"], r"1 ids \(a\) logged more than once an epoch"),
        (["a"], r"no row for 1 ids \(b\) of 2 examples"),
        ([], r"no row for 2 ids \(a, b\) of 2 examples"),
        (["a", "b", "c"], r"rows for 1 ids \(c\) that the data does not have"),
    ],
)
def test_coverage_is_proved(tmp_path: Path, ids: list[str], said: str) -> None:
    # Expected are a and b, each exactly once.
    write_shard(shard_path(tmp_path, 0, 0), table(ids))
    with pytest.raises(UserError, match=said):
        merged(tmp_path, ["a", "b"])


def test_each_epoch_is_covered_by_itself(tmp_path: Path) -> None:
    # The same id in two epochs is no duplicate, but every epoch must be whole.
    write_shard(shard_path(tmp_path, 0, 0), table(["a", "b"]))
    write_shard(shard_path(tmp_path, 1, 0), table(["b"], 1, epoch=1))
    assert merged(tmp_path)["id"].to_list() == ["a", "b", "b"]
    with pytest.raises(UserError, match=r"no row for 1 ids \(a\)"):
        merged(tmp_path, ["a", "b"])


def test_an_even_sample_reaches_over_all_rows() -> None:
    # Few rows are all taken; of many, every n-th is, so that neither the first nor the last part of the data is alone.
    rows = pl.LazyFrame({"row": range(10)})
    taken = [evenly(rows, most).collect()["row"].to_list() for most in (10, 5, 4, 3)]
    assert taken == [[*range(10)], [0, 2, 4, 6, 8], [0, 2, 4, 6, 8], [0, 3, 6, 9]]


def test_no_shards_and_no_manifest(tmp_path: Path) -> None:
    # Both errors say that a stage is missing.
    with pytest.raises(UserError, match="has no shards"):
        merged(tmp_path)
    with pytest.raises(UserError, match=r"has no manifest.json"):
        read_manifest(tmp_path)


def test_only_comparable_scorings_are_compared(tmp_path: Path) -> None:
    # A different dtype is named with both values. Values that are not listed may differ.
    same = dict.fromkeys(COMPARABLE, "x")
    write_manifest(tmp_path / "a", same | {"world_size": 1})
    write_manifest(tmp_path / "b", same | {"world_size": 2})
    check_comparable(tmp_path / "a", tmp_path / "b")
    write_manifest(tmp_path / "b", same | {"dtype": "float32"})
    with pytest.raises(UserError, match="cannot be compared: dtype is 'x' and 'float32'"):
        check_comparable(tmp_path / "a", tmp_path / "b")
