"""Parquet shards that are whole or absent, and merges that prove every id is there exactly once.

A folder of shards is `rank=00000/part-00000.parquet ...` and a `manifest.json`, written last. Rows carry
`id, source, num_tokens, loss_sum, rank, step, epoch` and what a signal adds. Sums and counts, not means, so
that neither packing nor length biases what is made of them.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path, read_json, read_object, write_json
from forgetfilter.process.progress import console
from forgetfilter.storage.sealed import damage, sealed

LOSS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("num_tokens", pa.int32()),  # label tokens, EOS included
        ("loss_sum", pa.float64()),  # nats, summed over the label tokens
        ("rank", pa.int32()),
        ("step", pa.int32()),  # optimizer step while training, batch number while scoring
        ("epoch", pa.int32()),
    ]
)

TOKEN_SCHEMA = LOSS_SCHEMA.append(pa.field("token_losses", pa.list_(pa.float16()))).append(  # nats of each label token
    pa.field("token_correct", pa.list_(pa.bool_()))  # whether the model would have chosen it first
)


TURN_FIELDS = (  # of scored data in which several answers of a row are learned: an entry for each of them, in order
    pa.field("turn_tokens", pa.list_(pa.int32())),  # label tokens
    pa.field("turn_losses", pa.list_(pa.float64())),  # nats, summed over the label tokens
)


def shard_path(folder: Path, rank: int, part: int) -> Path:
    return folder / f"rank={rank:05d}" / f"part-{part:05d}.parquet"


def shard_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("rank=*/part-*.parquet"))


def write_shard(path: Path, table: pa.Table) -> None:
    """Writes one Parquet file, whole or not at all, sealed so that `damage` knows each bit of it."""
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        handle.writelines(sealed(memoryview(sink.getvalue())))


def undamaged(paths: Iterable[Path]) -> list[Path]:
    """Those of the files of `write_shard` that are as they were written. Removes the others, and says so.

    It is for unfinished work and for the cache: finished work has its sums in another file (storage/sums.py). A changed
    bit would be a wrong number, or a panic in Polars, which compares no checksums.
    """
    found = {path: damage(path) for path in paths}
    for path, wrong in found.items():
        if wrong is not None:
            told = f"{path} is damaged, and what it held is made again if it can be: {wrong}"
            console.print(told, soft_wrap=True)
            path.unlink(missing_ok=True)
    return [path for path, wrong in found.items() if wrong is None]


def count_rows(folder: Path) -> dict[Path, int]:
    """The number of rows of each shard of a folder, in their order. Raises UserError without a shard, or for a broken
    one."""
    counts = {}
    for path in shard_paths(folder):
        try:
            counts[path] = int(pq.read_metadata(path).num_rows)
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{path} is truncated or not Parquet; delete it and run the stage again") from error
    if not counts:
        raise UserError(f"{folder} has no shards: the stage that writes them has not run")
    return counts


def scan_shards(folder: Path) -> pl.LazyFrame:
    """All rows of a folder of shards, lazily."""
    return scan(list(count_rows(folder)))


def scan(paths: Path | list[Path]) -> pl.LazyFrame:
    """The rows of Parquet files, lazily. The paths are not read as patterns, so a folder may be called `a[1]`."""
    return pl.scan_parquet(paths, glob=False, hive_partitioning=False)


def evenly(rows: pl.LazyFrame, most: int = 1_000_000) -> pl.LazyFrame:
    """Every n-th row, so that fewer than twice `most` are left of more; what a histogram is made of."""
    return rows.gather_every(max(1, int(rows.select(pl.len()).collect().item()) // most))


def merged(folder: Path, expected_ids: Iterable[str] | None = None) -> pl.DataFrame:
    """The rows of all ranks, ordered by id and epoch, without the columns that depend on the world size.

    Raises UserError where an id is there twice in an epoch, or (with `expected_ids`) missing or foreign.
    """
    frame = scan_shards(folder).drop("rank", strict=False).sort("epoch", "id").collect()
    twice = frame.filter(frame.select("epoch", "id").is_duplicated())
    if len(twice):
        raise UserError(f"{folder}: {_some(twice['id'].unique(maintain_order=True))} logged more than once an epoch")
    if expected_ids is not None:
        expected = pl.Series("id", list(expected_ids), dtype=pl.String)
        for rows in frame.partition_by("epoch") or [frame]:  # no row at all: one empty epoch
            missing = expected.filter(~expected.is_in(rows["id"].implode()))
            foreign = rows["id"].filter(~rows["id"].is_in(expected.implode()))
            if len(missing):
                raise UserError(f"{folder}: no row for {_some(missing)} of {len(expected)} examples")
            if len(foreign):
                raise UserError(f"{folder}: rows for {_some(foreign)} that the data does not have")
    return frame


def _some(ids: pl.Series) -> str:
    shown = ", ".join(value[:12] for value in ids.head(3))
    return f"{len(ids)} ids ({shown}{', ...' if len(ids) > 3 else ''})"


def begin(folder: Path, wanted: str) -> None:
    """Makes the folder ready for the identity `wanted`, and deletes what belongs to another one."""
    plan = folder / "plan.json"
    if folder.exists() and not (plan.exists() and read_json(plan) == wanted):
        shutil.rmtree(folder)
    (folder / "manifest.json").unlink(missing_ok=True)
    write_json(plan, wanted)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest, which marks the folder as complete and so comes last."""
    write_json(folder / "manifest.json", manifest)


def whole(folder: Path, rows: int) -> bool:
    """Whether the folder is complete: its manifest is there, and its shards can be read and hold so many rows.

    It reads only the end of each shard, so that 10^5 shards take seconds.
    """
    if not (folder / "manifest.json").exists():
        return False
    try:
        return rows == sum(int(pq.read_metadata(path).num_rows) for path in shard_paths(folder))
    except (pa.ArrowInvalid, OSError):
        return False


def intact(folder: Path, rows: int) -> bool:
    """Whether the folder is `whole` and every bit of its shards is as it was written, which reads all of them. For
    folders of a stage that is not done yet, and so has no sums in another file."""
    return whole(folder, rows) and all(damage(path) is None for path in shard_paths(folder))


def read_manifest(folder: Path) -> dict[str, Any]:
    if not (folder / "manifest.json").exists():
        raise UserError(f"{folder} has no manifest.json: the stage that writes it has not finished")
    return read_object(folder / "manifest.json")


# What must be equal for two scored states of a model to be comparable row by row.
STATES = {"before": "noisy", "after": "safe"}  # the two scorings that are compared: by which training's model
COMPARABLE = ("data", "tokenizer", "chat_template", "base_model", "max_length", "attention", "dtype", "plan")


def check_comparable(before: Path, after: Path) -> None:
    """Raises UserError where the manifests of two scorings do not allow a comparison, naming what differs."""
    first, second = read_manifest(before), read_manifest(after)
    for key in COMPARABLE:
        if first.get(key) != second.get(key):
            raise UserError(
                f"{before} and {after} cannot be compared: {key} is {_short(first.get(key))} and "
                f"{_short(second.get(key))}; delete both and score again"
            )


def _short(value: Any) -> str:
    """A value as an error shows it; of a hash, its beginning."""
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else repr(value)
