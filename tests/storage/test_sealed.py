from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetfilter.storage.cache import keep, read_kept
from forgetfilter.storage.sealed import MARK, damage
from forgetfilter.storage.shards import (
    LOSS_SCHEMA,
    intact,
    merged,
    shard_path,
    shard_paths,
    undamaged,
    write_manifest,
    write_shard,
)

ROWS = [
    {"id": f"id{n}", "source": "toy", "num_tokens": n + 1, "loss_sum": n / 3, "rank": 0, "step": 0, "epoch": 0}
    for n in range(3)
]
TABLE = pa.Table.from_pylist(ROWS, schema=LOSS_SCHEMA)


def unseen(path: Path, bits: Iterable[int]) -> list[int]:
    """Those of the bits of a file whose change is not noticed, the rows being then as before."""
    whole, expected, found = path.read_bytes(), merged(path.parents[1]), []
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        if damage(path) is None:
            assert merged(path.parents[1]).equals(expected), f"another number, silently, by bit {bit} of {len(whole)}"
            found.append(bit)
    path.write_bytes(whole)
    return found


def test_no_changed_bit_of_a_shard_is_taken(tmp_path: Path) -> None:
    # Pages, footer and the number by which the footer is found: only the mark of the seal is no part of what is summed.
    path = shard_path(tmp_path, 0, 0)
    write_shard(path, TABLE)
    content = path.read_bytes()
    mark, size = content.index(MARK) * 8, len(content) * 8
    last = range(size - 64, size)
    assert damage(path) is None and pq.read_table(path).equals(TABLE)
    inside = unseen(path, [*range(0, size, 31), *range(mark, mark + len(MARK) * 8, 3), *last])
    assert inside and mark <= min(inside) and max(inside) < mark + len(MARK) * 8


def test_no_changed_bit_of_the_pages_of_an_older_shard_is_taken(tmp_path: Path) -> None:
    # A shard of before seals is taken as it is; its pages have sums, and a bit that no reader looks at is no damage.
    path = shard_path(tmp_path, 0, 0)
    path.parent.mkdir()
    pq.write_table(TABLE, path, compression="zstd", write_page_checksum=True)
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    assert damage(path) is None and unseen(path, range(4 * 8, footer * 8, 53))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1\xff\xff\xff\xffPAR1", b"no Parquet at all, but long enough"])
def test_what_is_no_parquet_is_damage(tmp_path: Path, content: bytes) -> None:
    # A shard that was cut, emptied or exchanged is told like any other.
    path = tmp_path / "part-00000.parquet"
    path.write_bytes(content)
    assert damage(path) and undamaged([path]) == [] and not path.exists()


def flip_in_footer(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.rindex(b"loss_sum")] ^= 1
    path.write_bytes(content)


def test_a_folder_with_a_manifest_is_intact_only_with_every_bit(tmp_path: Path) -> None:
    # A part of an unfinished stage is taken as made already only where each of its shards is as it was written.
    write_shard(shard_path(tmp_path, 0, 0), TABLE)
    assert not intact(tmp_path, 3)
    write_manifest(tmp_path, {"rows": 3})
    assert intact(tmp_path, 3) and not intact(tmp_path, 4)
    flip_in_footer(shard_paths(tmp_path)[0])
    assert not intact(tmp_path, 3)


def test_a_damaged_piece_of_the_cache_is_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # An answer or a verdict that another run kept is never taken with a changed bit; what it held is made again.
    for key, verdict in (("a", 0.5), ("b", 1.0)):
        keep(tmp_path, {key: (verdict,)}, {"verdict": pl.Float64})
    assert read_kept(tmp_path, {"a", "b"}) == {"a": (0.5,), "b": (1.0,)}
    piece = next(path for path in tmp_path.iterdir() if pl.read_parquet(path)["key"][0] == "a")
    damaged = bytearray(piece.read_bytes())
    damaged[len(damaged) // 3] ^= 16
    piece.write_bytes(damaged)
    assert read_kept(tmp_path, {"a", "b"}) == {"b": (1.0,)} and f"{piece.name} is damaged" in capsys.readouterr().err
    keep(tmp_path, {"a": (0.5,)}, {"verdict": pl.Float64})
    assert read_kept(tmp_path, {"a", "b"}) == {"a": (0.5,), "b": (1.0,)}
