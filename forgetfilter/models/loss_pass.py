"""Scoring: one forward pass over a data set, each example's loss to Parquet shards; resumable, any world size."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch

from forgetfilter.data.batches import Row, collate, layout_for, plan_scoring
from forgetfilter.data.tokens import Prepared
from forgetfilter.models.example_losses import ExampleLosses, attach, to_device
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import World, barrier
from forgetfilter.process.progress import progress
from forgetfilter.storage.shards import LOSS_SCHEMA, TOKEN_SCHEMA, scan_shards, shard_path, shard_paths, write_shard


def score_batch(
    model: torch.nn.Module, rows: Sequence[Row], device: torch.device, packing: bool
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(loss_sum nats float64 [E], num_tokens int64 [E]) of a batch; `model` must be attached."""
    losses = _forward(model, rows, device, packing)
    return losses.loss_sum.double().cpu().numpy(), losses.num_tokens.cpu().numpy()


def _forward(model: torch.nn.Module, rows: Sequence[Row], device: torch.device, packing: bool) -> ExampleLosses:
    with torch.inference_mode():
        batch = collate(rows, range(len(rows)), _layout(model, packing), pad_token=0)
        losses: ExampleLosses = model(**to_device(batch, device))["example_losses"]
    return losses


def _layout(model: torch.nn.Module, packing: bool) -> str:
    return layout_for(str(model.config._attn_implementation), packing)  # type: ignore[union-attr]


def score_encoded(
    model: torch.nn.Module,
    encoded: Sequence[tuple[list[int], int]],
    batch_tokens: int,
    device: torch.device,
    packing: bool = True,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(loss_sum nats float64 [n], num_tokens int64 [n]) of encoded examples, in their order, by one process."""
    loss_sum, num_tokens = np.zeros(len(encoded)), np.zeros(len(encoded), dtype=np.int64)
    detach = attach(model)
    try:
        for rows in plan_scoring(np.array([len(ids) for ids, _ in encoded], dtype=np.int64), batch_tokens):
            loss_sum[rows], num_tokens[rows] = score_batch(model, [encoded[row] for row in rows], device, packing)
    finally:
        detach()
    return loss_sum, num_tokens


def score_prepared(
    model: torch.nn.Module,
    prepared: Prepared,
    folder: Path,
    batch_tokens: int,
    shard_rows: int,
    world: World,
    what: str,
    packing: bool = True,
    tokenwise: bool = False,
) -> None:
    """Writes the losses of all rows to shards below `folder`, each batch exactly once.

    Batches are planned once for the whole data and handed to ranks whole; what whole shards already hold is
    left out, whatever world size wrote them. `tokenwise` adds the columns of TOKEN_SCHEMA. Raises Stopped after a
    signal, with everything scored saved.
    """
    plan = plan_scoring(prepared.lengths(), batch_tokens)
    schema = TOKEN_SCHEMA if tokenwise else LOSS_SCHEMA
    detach = attach(model, tokenwise=tokenwise)
    try:
        write_steps(
            len(plan),
            lambda step: _score_step(model, prepared, plan[step], step, world, packing, schema),
            folder,
            schema,
            shard_rows,
            world,
            what,
        )
    finally:
        detach()


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

    `schema` has a column `step`, by which a resume knows what is there. Raises Stopped after a signal, all saved.
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


def _score_step(
    model: torch.nn.Module, prepared: Prepared, rows: Any, step: int, world: World, packing: bool, schema: pa.Schema
) -> pa.Table:
    losses = _forward(model, [prepared.row(int(row)) for row in rows], world.device, packing)
    loss_sum, num_tokens = losses.loss_sum.double().cpu().numpy(), losses.num_tokens.cpu().numpy()
    taken = prepared.table.select(["id", "source"]).take(pa.array(rows))
    columns = {"num_tokens": num_tokens, "loss_sum": loss_sum}
    columns |= {key: np.full(len(rows), value) for key, value in (("rank", world.rank), ("step", step), ("epoch", 0))}
    if losses.tokens is not None and losses.correct is not None:
        ends = pa.array(np.concatenate([[0], np.cumsum(num_tokens)]), pa.int32())
        nats = losses.tokens.float().cpu().numpy().clip(0, 65504).astype(np.float16)
        columns["token_losses"] = pa.ListArray.from_arrays(ends, pa.array(nats))
        columns["token_correct"] = pa.ListArray.from_arrays(ends, pa.array(losses.correct.cpu().numpy()))
    return pa.table({"id": taken["id"], "source": taken["source"], **columns}).cast(schema)


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
    """Batches whose rows are in whole shards."""
    if not shard_paths(folder):
        return set()
    return set(scan_shards(folder).select(pl.col("step").unique()).collect()["step"].to_list())
