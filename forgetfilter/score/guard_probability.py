"""Writes to shards the probability, by a guard model, that the answer of each noisy example is harmful.

The guards are those of an evaluation, and judge an answer as one to the user's turn before it. Where several answers of
an example are learned, the worst counts. An example without a verdict on each of them gets null and is counted; the
reasons are told, but no texts.
"""

from itertools import islice
from pathlib import Path

import polars as pl
import pyarrow as pa

from forgetfilter.data.records import Record, RecordBlocks, learned_places
from forgetfilter.models.guard_models import Guard
from forgetfilter.models.guards.base import Chance, Pair
from forgetfilter.process.distributed import World, barrier, gathered
from forgetfilter.process.progress import console
from forgetfilter.storage.shards import scan_shards
from forgetfilter.storage.steps import write_steps

SCHEMA = pa.schema([("id", pa.string()), ("guard", pa.float64()), ("step", pa.int32())])


def write_probabilities(guard: Guard, data: Path, folder: Path, step_rows: int, shard_rows: int, world: World) -> None:
    """Shards of `id` and `guard` (0 to 1; null without a verdict), `step_rows` examples a step.

    To be called by every rank.
    """
    blocks = RecordBlocks.of(data, step_rows)

    def compute(step: int) -> pa.Table:
        records = blocks[step]
        columns = [[record.id for record in records], worst(guard, [pairs(record) for record in records])]
        return pa.table([*columns, [step] * len(records)], names=SCHEMA.names).cast(SCHEMA)

    write_steps(len(blocks), compute, folder, SCHEMA, shard_rows, world, "guard")
    barrier()
    troubles = sorted({trouble for trouble in gathered(guard.trouble) if trouble})
    if world.is_main:
        counted = pl.col("guard").null_count().alias("missing"), pl.len().alias("rows")
        missing, rows = scan_shards(folder).select(counted).collect().row(0)
        if missing:
            why = f" ({'; '.join(troubles)})" if troubles else ""
            told = f"score: the guard has no verdict on {missing:,} of {rows:,} examples{why}"
            console.print(told, style="yellow", soft_wrap=True)


def chances(guard: Guard, pairs: list[Pair]) -> list[Chance]:
    """The guard's probability for each pair, in their order. Texts of similar length share a batch, to save padding."""
    order = sorted(range(len(pairs)), key=lambda row: sum(map(len, pairs[row])))
    found: list[Chance] = [None] * len(pairs)
    for start in range(0, len(order), guard.at_once):
        rows = order[start : start + guard.at_once]
        for row, chance in zip(rows, guard.chances([pairs[row] for row in rows])):
            found[row] = chance
    return found


def worst(guard: Guard, examples: list[list[Pair]]) -> list[Chance]:
    """The highest probability of each example's pairs; None where one of them has no verdict."""
    found = iter(chances(guard, [pair for pairs in examples for pair in pairs]))
    each = ([*islice(found, len(pairs))] for pairs in examples)
    return [None if None in own else max(chance for chance in own if chance is not None) for own in each]


def pairs(record: Record) -> list[Pair]:
    """Each answer that is learned, behind the user's last turn before it, which is empty where there is none."""
    found, asked = list[Pair](), ""
    learned = {*learned_places(record.messages, record.learn)}
    for place, message in enumerate(record.messages):
        if message["role"] == "user":
            asked = message["content"]
        if place in learned:
            found.append((asked, message["content"]))
    return found
