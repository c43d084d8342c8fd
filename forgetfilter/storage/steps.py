"""Work in numbered steps whose tables go to shards. It can be resumed, with any number of ranks. All scoring is such
work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import polars as pl
import pyarrow as pa

from forgetfilter.process import interrupts
from forgetfilter.process.distributed import World, barrier
from forgetfilter.process.progress import progress
from forgetfilter.storage.shards import scan_shards, shard_path, shard_paths, undamaged, write_shard

Begun: TypeAlias = "pa.Table | Callable[[], pa.Table]"
"""The table of a step, or what makes it of tensors that a GPU may still compute."""


@dataclass(frozen=True)
class Amounts:
    """What each step has, for the meters."""

    tokens: Sequence[int]
    operations: Sequence[float] = ()
    """Of the model, where they are counted."""
    ceiling: float | None = None
    """As in process/passes.py."""


def write_steps(
    steps: int | Amounts,
    compute: Callable[[int], Begun],
    folder: Path,
    schema: pa.Schema,
    shard_rows: int,
    world: World,
    what: str,
) -> None:
    """Writes the tables of all steps to shards below `folder`, each exactly once, spread over the ranks.

    `steps` is their number, or the amounts of each where these are known. `schema` has a column `step`, by which a
    resumed run knows what is there. A step may give a function in the place of its table: it is called once the next
    step has begun, so that a GPU computes while the table is made and the next batch prepared. Raises Stopped after a
    signal, with all steps saved.
    """
    done = finished_steps(folder, world)
    of = Amounts([0] * steps) if isinstance(steps, int) else steps
    count, operations = len(of.tokens), of.operations or [0.0] * len(of.tokens)
    todo = [step for step in range(count) if step not in done]
    writer = ShardWriter(folder, world.rank, shard_rows, schema)
    with progress(what, count, len(done), of.ceiling) as meter:
        for start in range(0, len(todo), world.size):  # the same number of turns on every rank
            turn = todo[start : start + world.size]
            if world.rank < len(turn):
                writer.add(compute(turn[world.rank]))
            if interrupts.requested():
                writer.flush()
                interrupts.stop_if_requested(what)
            meter.advance(len(turn), sum(of.tokens[step] for step in turn), sum(operations[step] for step in turn))
        writer.flush()


class ShardWriter:
    """Collects tables and writes them as numbered shards of about `shard_rows` rows; never overwrites one.

    The table that was added last may still be in the making, and is taken when the next one is there.
    """

    def __init__(self, folder: Path, rank: int, shard_rows: int, schema: pa.Schema):
        self.folder, self.rank, self.shard_rows, self.schema = folder, rank, shard_rows, schema
        taken = [int(path.stem.split("-")[1]) for path in shard_paths(folder) if path.parent.name == f"rank={rank:05d}"]
        self.part = max(taken, default=-1) + 1
        self.tables: list[pa.Table] = []
        self.begun: Begun | None = None

    def add(self, begun: Begun) -> None:
        self._take()
        self.begun = begun

    def _take(self) -> None:
        if self.begun is not None:
            self.tables.append(self.begun() if callable(self.begun) else self.begun)
            self.begun = None
        if sum(table.num_rows for table in self.tables) >= self.shard_rows:
            self._write()

    def flush(self) -> None:
        self._take()
        self._write()

    def _write(self) -> None:
        if self.tables:
            write_shard(shard_path(self.folder, self.rank, self.part), pa.concat_tables(self.tables).cast(self.schema))
            self.part += 1
            self.tables = []


def finished_steps(folder: Path, world: World) -> set[int]:
    """The numbers of the batches whose rows are in whole shards; to be called by every rank. Damaged shards are
    removed."""
    if world.is_main:
        undamaged(shard_paths(folder))
    barrier()
    done: set[int] = set()
    if shard_paths(folder):
        done = set(scan_shards(folder).select(pl.col("step").unique()).collect()["step"].to_list())
    barrier()  # nobody writes before everybody has read
    return done
