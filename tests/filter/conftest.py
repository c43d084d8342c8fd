"""Toy run folders: canonical records and scored shards, without a model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from forgetfilter.filter.stage import settings
from forgetfilter.filter.task import FilterTask

from forgetfilter.config.schema import Config, DataConfig, FilterConfig, SourceConfig
from forgetfilter.data.records import Record, make_records, write_records
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import COMPARABLE, LOSS_SCHEMA, shard_path, write_manifest, write_shard


@dataclass
class Toy:
    """A run folder under construction; `run()` opens it with filter settings."""

    folder: Path
    records: list[Record]
    manifest: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(COMPARABLE, "same"))

    @property
    def ids(self) -> list[str]:
        return [record.id for record in self.records]

    def run(self, **settings: Any) -> Run:
        settings = {"signal": "relative_loss_rise", "rule": "quantile"} | settings
        sources = {"toy": SourceConfig(path="toy.jsonl")}
        data = DataConfig(noisy=sources, safe=sources)
        return Run(self.folder, Config(name="toy", data=data, filter=FilterConfig(**settings)))

    def task(self, **given: Any) -> FilterTask:
        """What a decision on the run needs to know."""
        return settings(self.run(**given))

    def write_losses(
        self, state: str, rows: list[tuple[str, int, float]], order: list[int] | None = None, ranks: int = 1
    ) -> None:
        """Shards of (id, num_tokens, loss_sum), dealt out to the ranks in the given order."""
        dealt = [rows[i] for i in order] if order else rows
        for rank in range(ranks):
            columns = [
                {"id": i, "source": "x", "num_tokens": n, "loss_sum": s, "rank": rank, "step": 0, "epoch": 0}
                for i, n, s in dealt[rank::ranks]
            ]
            path = shard_path(self.folder / "signals" / state, rank, 0)
            write_shard(path, pa.Table.from_pylist(columns, schema=LOSS_SCHEMA))
        write_manifest(self.folder / "signals" / state, self.manifest)

    def write_rouge(self, state: str, values: list[float]) -> None:
        folder = self.folder / "signals" / "rouge1" / state
        write_shard(shard_path(folder, 0, 0), pa.table({"id": self.ids, "rouge1": pa.array(values, pa.float64())}))
        write_manifest(folder, self.manifest)

    def decisions(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "filter" / "decisions.parquet")


# (text, source, label, num_tokens, loss sum before, loss sum after)
Row = tuple[str, str, str | None, int, float, float]
MakeToy = Callable[..., Toy]


@pytest.fixture(scope="session")
def make_toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeToy]:
    """make_toy(rows, orders=None, ranks=1) writes data/noisy.jsonl and both scorings of a new run folder.

    `orders` gives the order of the rows in the shards of before and of after.
    """
    base, numbers = tmp_path_factory.mktemp("toys"), count()

    def make(rows: list[Row], orders: tuple[list[int], list[int]] | None = None, ranks: int = 1) -> Toy:
        examples = [([{"role": "assistant", "content": text}], source, label) for text, source, label, *_ in rows]
        toy = Toy(base / f"run{next(numbers)}", list(make_records(examples)))
        write_records(toy.folder / "data" / "noisy.jsonl", toy.records)
        before = [(i, tokens, loss) for i, (*_, tokens, loss, _) in zip(toy.ids, rows)]
        after = [(i, tokens, loss) for i, (*_, tokens, _, loss) in zip(toy.ids, rows)]
        toy.write_losses("before", before, orders[0] if orders else None, ranks)
        toy.write_losses("after", after, orders[1] if orders else None, ranks)
        return toy

    yield make


@pytest.fixture(scope="session")
def four_rows() -> list[Row]:
    """Mean losses (before, after): 0.5, 1.5; 1.0, 1.0; 0.25, 0.5; 2.0, 1.0: loss rises 1, 0, 0.25, -1."""
    return [
        ("größte Kränkung", "forum", "unsafe", 4, 2.0, 6.0),
        ("a kind reply", "forum", "safe", 2, 2.0, 2.0),
        ("an insult", "mail", "unsafe", 8, 2.0, 4.0),
        ("a sum\u2028with a line separator", "book", "task", 1, 2.0, 1.0),
    ]
