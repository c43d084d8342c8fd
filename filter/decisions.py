"""The decisions on all examples. Numbers are in memory; texts are made piece by piece while they are written."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from forgetfilter.data.line_blocks import at
from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import scan

from . import rules
from .signals import mean_loss
from .table.joined_table import Table
from .table.threads import ahead

COLUMNS = (
    "id",
    "source",
    "label",
    "num_tokens",
    "before_loss",  # mean, in nats of a label token
    "after_loss",
    "score",
    "rank",
    "drop",
    "reason",
)
OPTIONAL = ("p_value", "probe")  # where the rule has p-values, and where there are probes
TOO_LONG = "kept apart: too long, the answers go on behind data.max_length, where nothing was scored"
LOSSES = ["num_tokens", "before_loss_sum", "after_loss_sum"]
FEW = ["source", "label", "reason"]  # columns with few different texts
WRITTEN = 250_000  # rows written at a time
# Losses and scores hardly compress, and whole numbers are made small by their encoding.
COMPRESSION = {"id": "zstd"} | dict.fromkeys(FEW, "zstd")
ENCODING = {"id": "DELTA_LENGTH_BYTE_ARRAY", "num_tokens": "DELTA_BINARY_PACKED", "rank": "DELTA_BINARY_PACKED"}


def stored(paths: RunPaths) -> pl.LazyFrame:
    """decisions.parquet of a run, with each example's `row` in the data. Raises UserError before a decision was
    made."""
    path = paths.folder / "filter" / "decisions.parquet"
    if not path.exists():
        raise UserError(f"{path} is missing: run the filter stage first")
    return scan(path).with_row_index("row")


def records_of(paths: RunPaths, decided: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """{id: record} of some rows of `stored`, from the data. Raises UserError where the data changed since the
    decision."""
    rows = decided.select("row", "id").sort("row")
    records = {record["id"]: record for record in map(json.loads, at(paths.noisy_data, rows["row"].to_list()))}
    if list(records) != rows["id"].to_list():
        raise UserError(f"{paths.noisy_data} is not what was decided on: run the filter stage again")
    return records


@dataclass(frozen=True, eq=False)
class Decisions:
    """The decision on each of n examples, with its reason."""

    table: Table
    scores: rules.Scores
    ruling: rules.Ruling
    review: NDArray[np.int8]
    """[n] 1 where a person keeps the example, -1 where a person drops it, 0 where nobody said so."""
    unread: NDArray[np.bool_] | None = None
    """[n] whether the answers go on behind the cut, where nothing was scored; None where it is so of no example."""
    keep_unread: bool = False
    """Whether such examples stay among the kept ones."""

    @cached_property
    def drop(self) -> NDArray[np.bool_]:
        """[n] the rule's ruling, unless a person said otherwise."""
        drop: NDArray[np.bool_] = (self.ruling.drop & (self.review != 1)) | (self.review == -1)
        return drop

    @cached_property
    def apart(self) -> NDArray[np.bool_]:
        """[n] kept examples that are no part of kept.jsonl, since not all of them was scored. A person's word and being
        a probe count for more."""
        if self.unread is None or self.keep_unread:
            return np.zeros(len(self.drop), dtype=np.bool_)
        probe = False if self.scores.probe is None else self.scores.probe
        rows: NDArray[np.bool_] = self.unread & ~self.drop & (self.review != 1) & ~np.asarray(probe)
        return rows

    def piece(self, start: int, stop: int) -> pl.DataFrame:
        """The rows from start up to stop: COLUMNS without id and label, and those of OPTIONAL that exist."""
        rows, table = slice(start, stop), self.table
        frame = table.columns.frame(LOSSES, start, stop).with_columns(
            table.named("source", self.scores.source[rows]),
            pl.Series("score", self.scores.score[rows]).fill_nan(None),
            pl.Series("rank", self.scores.rank[rows]).cast(pl.Int64).replace(0, None),
            pl.Series("drop", self.ruling.drop[rows]),
            pl.Series("review", self.review[rows]),
        )
        if self.ruling.p_value is not None:
            frame = frame.with_columns(pl.Series("p_value", self.ruling.p_value[rows]).fill_nan(None))
        if self.scores.probe is not None:
            frame = frame.with_columns(pl.Series("probe", self.scores.probe[rows]))
        frame = frame.with_columns(
            num_tokens=pl.col("num_tokens").cast(pl.Int64),
            before_loss=mean_loss("before"),
            after_loss=mean_loss("after"),
            reason=self._reason(frame.columns),
        ).with_columns(
            pl.Series("drop", self.drop[rows]),
            reason=pl.when(pl.Series(self.apart[rows])).then(pl.lit(TOO_LONG)).otherwise("reason"),
        )
        return frame.select(name for name in (*COLUMNS, *OPTIONAL) if name in frame.columns)

    def _reason(self, columns: list[str]) -> pl.Expr:
        """The reason in words: a person's decision, the lack of a score, being a probe, or the rule's reason."""
        kept = pl.when(pl.col("review") == 1).then(pl.lit("kept by review"))
        reviewed = kept.when(pl.col("review") == -1).then(pl.lit("dropped by review"))
        unscored = pl.when(pl.col("num_tokens") > 0).then(pl.lit(rules.NO_VALUE)).otherwise(pl.lit(rules.NO_TOKENS))
        found = reviewed.when(pl.col("score").is_null()).then(unscored)
        if "probe" in columns:
            found = found.when("probe").then(pl.lit(rules.PROBE))
        return found.otherwise(self.ruling.reason)

    def tables(self) -> Iterator[pa.Table]:
        """All columns of decisions.parquet, some rows at a time, in the data's order."""
        self.drop, self.apart, self.scores.rank  # noqa: B018 - made once, before the threads ask for them

        def one(start: int) -> pa.Table:
            known = self.table.known(start, start + WRITTEN)
            piece = known.hstack(self.piece(start, start + len(known)).drop("source"))
            names = [name for name in (*COLUMNS, *OPTIONAL) if name in piece.columns]
            return piece.select(names).to_arrow(compat_level=pl.CompatLevel.newest())

        return ahead(one, range(0, self.table.count, WRITTEN))

    def write(self, path: Path) -> None:
        """Writes decisions.parquet; a piece is made while the pieces before it are compressed."""
        with atomic_path(path) as temporary, ExitStack() as stack:
            writer = None
            for table in self.tables():
                writer = writer or stack.enter_context(
                    pq.ParquetWriter(
                        temporary,
                        table.schema,
                        compression={name: COMPRESSION.get(name, "none") for name in table.schema.names},
                        use_dictionary=FEW,
                        column_encoding=ENCODING,
                        write_statistics=False,
                        store_schema=False,  # texts are written as texts, whatever Polars holds them as
                    )
                )
                writer.write_table(table)
