"""Reads the texts for filter/texts/text_columns.py in blocks, each of which becomes a shard.

A single block is read in this process, several blocks by one process for each core, or under Slurm's launcher by all
ranks of the job. A run that was stopped goes on with the missing blocks.
"""

import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from forgetfilter.data.line_blocks import cut, lines
from forgetfilter.data.records import Record, RecordBlocks, read_records, to_record
from forgetfilter.errors import UserError
from forgetfilter.files import read_json, sha256_value, write_json
from forgetfilter.models.profanity import profanity
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import World, world
from forgetfilter.process.exit_codes import exit_code_of
from forgetfilter.process.launch import launch
from forgetfilter.process.passes import leave_measures
from forgetfilter.process.progress import progress
from forgetfilter.score.distances import distance
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import begin, shard_path, shard_paths, undamaged, write_manifest, write_shard

from ..table.record_fields import read_lines
from .clusters import Space
from .forecast import Forecast

SAMPLE = 20_000  # the most rows to which the space is fitted, and the most rows of the safe set
BLOCK_ROWS, PIECE_ROWS = 200_000, 10_000  # rows of a shard, and rows in memory at a time
MADE, SPACE, BLOCKS = "made", "space.npz", "blocks.json"  # the names of what the ranks share while the columns are made


def make(
    paths: RunPaths,
    columns: dict[str, dict[str, Any]],
    nodes: int,
    forecasts: Mapping[str, Forecast] = MappingProxyType({}),
) -> None:
    """Writes columns, each with its manifest. Raises Stopped by a signal; what was written stays.

    `forecasts`: what makes a column that is no text's own.
    """
    texts = paths.signals("texts")
    blocks = RecordBlocks.of(paths.noisy_data, BLOCK_ROWS)
    if not blocks.count:
        raise UserError(f"{paths.noisy_data} is empty: there is nothing to filter")
    made, common = texts / MADE, next(iter(columns.values()))
    begin(made, sha256_value([common["data"], common["version"]]))
    for name, forecast in forecasts.items():
        forecast.save(made / f"{name}.npz")
    if set(columns) - {"profanity", *forecasts} and not _fitted(made / SPACE):
        for name in columns:  # shards of an earlier fit, perhaps on another machine, would not go with these
            shutil.rmtree(texts / name, ignore_errors=True)
        Space.fit(_texts(_sample(paths.noisy_data)), blocks.count).save(made / SPACE)
    for name, about in columns.items():
        begin(texts / name, sha256_value(about))
        undamaged(shard_paths(texts / name))
    if len(blocks) == 1:  # one block is not worth the start of further processes
        _make(paths, columns, blocks, World(0, 1, 0))
    else:
        write_json(made / BLOCKS, {"rows": blocks.rows, "starts": blocks.starts, "count": blocks.count})
        interrupts.stop_if_requested("reading the texts")  # while the space was fitted: ranks would not know
        processes = min(len(os.sched_getaffinity(0)), len(blocks))
        launch(
            "forgetfilter.filter.texts.column_shards",
            [str(paths.folder), *columns],
            processes,
            1,
            nodes=nodes,
        )
    for name, about in columns.items():
        write_manifest(texts / name, about | {"rows": blocks.count})
    shutil.rmtree(made)


def _fitted(space: Path) -> bool:
    """Whether the space is there as it was written: its archive has a sum of each array."""
    try:
        Space.load(space)
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, BadZipFile):
        return False
    return True


def main(argv: list[str]) -> None:
    """The columns `argv[1:]` of the run folder `argv[0]`, as one rank of the world."""
    interrupts.install()
    paths = RunPaths(Path(argv[0]))
    blocks = RecordBlocks(paths.noisy_data, **read_json(paths.signals("texts") / MADE / BLOCKS))
    _make(paths, argv[1:], blocks, world())
    leave_measures(paths.folder)  # there is no group: those of rank 0, and the others do the same


def _make(paths: RunPaths, columns: Collection[str], blocks: RecordBlocks, here: World) -> None:
    """Makes a rank's share of the blocks. Ranks need not wait for each other, since every shard is whole."""
    texts, own = paths.signals("texts"), range(here.rank, len(blocks), here.size)
    pending = [block for block in own if not all(shard_path(texts / name, 0, block).exists() for name in columns)]
    work = {name: _work(name, paths) for name in columns} if pending else {}
    with progress("read texts", len(own), len(own) - len(pending)) as meter:
        for block in pending:
            interrupts.stop_if_requested("reading the texts")
            records, found = blocks.each(block), dict[str, list[pa.Table]]()
            while piece := list(islice(records, PIECE_ROWS)):
                ids = [record.id for record in piece]
                for name, values in work.items():
                    found.setdefault(name, []).append(pa.table({"id": ids, name: values(piece)}))
            for name, tables in found.items():
                write_shard(shard_path(texts / name, 0, block), pa.concat_tables(tables))
            meter.advance()


def _work(column: str, paths: RunPaths) -> Callable[[list[Record]], NDArray[Any]]:
    """The function that makes a column from records."""
    if column == "profanity":
        return _profanity
    if (forecast := paths.signals("texts") / MADE / f"{column}.npz").exists():
        return Forecast.load(forecast).of
    space = Space.load(paths.signals("texts") / MADE / SPACE)
    if column == "cluster":
        return lambda records: space.cluster(space.embed(_texts(records)))
    safe = paths.safe_data
    trusted = space.embed(_texts(islice(read_records(safe), SAMPLE)) if safe.exists() else [])
    return lambda records: distance(space.embed(_texts(records)), trusted)


def _profanity(records: list[Record]) -> NDArray[np.float64]:
    answers = [record.answers for record in records]
    starts = np.cumsum([0, *map(len, answers)])[:-1]
    worst: NDArray[np.float64] = np.maximum.reduceat(profanity(list(chain(*answers))), starts, dtype=np.float64)
    return worst


def _sample(noisy: Path) -> list[Record]:
    """The SAMPLE rows with the smallest ids. Ids are hashes, so the rows are random but always the same."""
    best = pl.DataFrame(schema={"id": pl.String, "line": pl.Binary})
    for block, lengths in lines(noisy):
        found = read_lines(noisy, block, {"id": pl.String})
        rows = found.with_row_index("row").filter(pl.col("id") <= best["id"].max() if len(best) == SAMPLE else True)
        rows = rows.bottom_k(SAMPLE, by="id")
        picked = pl.Series(cut(block, lengths, rows["row"]), dtype=pl.Binary)
        best = pl.concat([best, rows.select("id", line=picked)]).bottom_k(SAMPLE, by="id")
    return [to_record(line) for line in best.sort("id")["line"]]


def _texts(records: Iterable[Record]) -> list[str]:
    return [" ".join(message["content"] for message in record.messages) for record in records]


if __name__ == "__main__":
    raise SystemExit(exit_code_of(lambda: main(sys.argv[1:])))
