"""Work in numbered steps whose tables go to shards. It can be resumed, with any number of ranks. All scoring is such
work."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa

from forgetfilter.process import interrupts
from forgetfilter.process.distributed import World, barrier
from forgetfilter.process.progress import progress
from forgetfilter.storage.shards import scan_shards, shard_path, shard_paths, write_shard


def write_steps(
    count: int,
    compute: Callable[[int], pa.Table],
    folder: Path,
    schema: pa.Schema,
    shard_rows: int,
    world: World,
    what: str,
) -> None:
    """Writes the tables of steps 0 to count - 1 to shards below `folder`, each exactly once, spread over the ranks.

    `schema` has a column `step`, by which a resumed run knows what is there. Raises Stopped after a signal, with all
    steps saved.
    """
    done = finished_steps(folder)
    barrier()  # nobody writes before everybody has read
    mine = [step for step in range(count) if step not in done][world.rank :: world.size]
    writer = ShardWriter(folder, world.rank, shard_rows, schema)
    with progress(what, count, len(done)) as meter:
        for turn in range(-(-(count - len(done)) // world.size)):  # the same number of turns on every rank
            if turn < len(mine):
                writer.add(compute(mine[turn]))
            if interrupts.requested():
                writer.flush()
                interrupts.stop_if_requested(what)
            meter.advance(min(world.size, meter.total - meter.done))
    writer.flush()


class ShardWriter:
    """Collects tables and writes them as numbered shards of about `shard_rows` rows; never overwrites one."""

    def __init__(self, folder: Path, rank: int, shard_rows: int, schema: pa.Schema):
        self.folder, self.rank, self.shard_rows, self.schema = folder, rank, shard_rows, schema
        taken = [int(path.stem.split("-")[1]) for path in shard_paths(folder) if path.parent.name == f"rank={rank:05d}"]
        self.part = max(taken, default=-1) + 1
        self.tables: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        self.tables.append(table)
        if sum(table.num_rows for table in self.tables) >= self.shard_rows:
            self.flush()

    def flush(self) -> None:
        if self.tables:
            write_shard(shard_path(self.folder, self.rank, self.part), pa.concat_tables(self.tables).cast(self.schema))
            self.part += 1
            self.tables = []


def finished_steps(folder: Path) -> set[int]:
    """The numbers of the batches whose rows are in whole shards."""
    if not shard_paths(folder):
        return set()
    return set(scan_shards(folder).select(pl.col("step").unique()).collect()["step"].to_list())
