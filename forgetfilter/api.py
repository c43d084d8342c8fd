"""For people who keep their trainer and their notebook: from two loss logs to what is kept, on tables in memory.

    table = forgetting("losses/before", "losses/after")        # folders of LossLog, or two tables
    decided = keep(table, rule="quantile", quantile=0.2)       # every row, with score, rank, keep and reason
    kept = decided.filter(pl.col("keep"))                      # in pandas: decided[decided["keep"]]

A table is one of pandas, Polars or Arrow, and the answer is of the same kind. Losses are sums in nats over the label
tokens of an example. `before` is the model that has learned the noisy data, `after` the one that then learned the safe
data. The decisions are those of `forgetfilter filter` on the same losses. docs/api.md has the whole way.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa

from forgetfilter.data.records import make_records
from forgetfilter.data.shapes import to_messages
from forgetfilter.errors import UserError
from forgetfilter.storage.shards import scan_shards
from forgetfilter.storage.stage import load

T = TypeVar("T")
SOURCE = "data"  # of rows that name none


def ids(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The ids by which the project knows these rows, for LossLog: the hash of the messages, and a number for a copy."""
    examples = ((to_messages(row, f"row {number}"), SOURCE, None) for number, row in enumerate(rows, 1))
    return [record.id for record in make_records(examples)]


def forgetting(before: Any, after: Any) -> Any:
    """One table of two: `id, source, num_tokens, before_loss_sum, after_loss_sum`, in the order of `before`.

    Each is the folder of a LossLog or a table with `id, num_tokens, loss_sum`, and perhaps `source` and `epoch`, of
    which the last counts. UserError where an id is in one of them alone, twice in one, or has other label tokens.
    """
    first, second = _losses(before, "before"), _losses(after, "after")
    for name, own, other in (("after", first, second), ("before", second, first)):
        lacking = own.join(other, on="id", how="anti")["id"]
        if len(lacking):
            raise UserError(f"{name} has no row for {len(lacking)} ids of the other, the first {lacking[0]}")
    both = first.join(second.drop("source"), on="id", suffix="_after", maintain_order="left")
    if len(unequal := both.filter(pl.col("num_tokens") != pl.col("num_tokens_after"))):
        raise UserError(
            f"before and after have other numbers of label tokens for {len(unequal)} ids, the first "
            f"{unequal['id'][0]}: both must read the rows with one tokenizer, and cut them alike"
        )
    losses = {"before_loss_sum": "loss_sum", "after_loss_sum": "loss_sum_after"}
    return _like(both.select("id", "source", "num_tokens", **losses), before)


def keep(
    table: T, signal: str = "relative_loss_rise", rule: str = "auto", probes: Collection[str] = (), **settings: object
) -> T:
    """The table with `score`, `rank`, `keep`, `reason` and, where the rule has it, `p_value`, in its own order.

    The table is that of `forgetting`; `source` and `label` may be missing, and further columns are there for signals
    that read them. `probes` are the ids of rows that are known to be good: they are never dropped, and rules such as
    conformal need them. `rule`: auto is conformal with probes, and otsu without. `settings` are the rule's own, as in
    the section `filter` of a configuration: quantile, max_false_drop and so on.
    """
    frame = _frame(table, "table")
    for name in ("id", "num_tokens", "before_loss_sum", "after_loss_sum"):
        if name not in frame.columns:
            raise UserError(f"table has no column {name!r}: make it with forgetting(before, after)")
    probes = list(dict.fromkeys(probes))  # a column of a table too
    known = set(frame["id"])
    if foreign := [name for name in probes if name not in known]:
        raise UserError(f"probes: {len(foreign)} ids are not in the table, the first {foreign[0]}")
    given = frame.with_columns(
        pl.col("source").fill_null(SOURCE) if "source" in frame.columns else pl.lit(SOURCE).alias("source"),
        pl.col("label") if "label" in frame.columns else pl.lit(None, pl.String).alias("label"),
    )
    decide: Callable[..., pl.DataFrame] = load("forgetfilter.filter.frames:decided", FunctionType)
    decided = decide(given, signal, rule, probes, settings)
    added = [pl.col("score"), pl.col("rank"), ~pl.col("drop").alias("keep"), pl.col("reason")]
    added += [pl.col("p_value")] if "p_value" in decided.columns else []
    answer: Any = _like(frame.with_columns(decided.select(added)), table)
    if hasattr(table, "index"):  # of pandas, by which a column is put into another table
        answer.index = table.index
    made: T = answer
    return made


def _losses(given: Any, name: str) -> pl.DataFrame:
    """`id, source, num_tokens, loss_sum` of the last epoch, each id once."""
    frame = _frame(given, name)
    for column in ("id", "num_tokens", "loss_sum"):
        if column not in frame.columns:
            raise UserError(f"{name} has no column {column!r}; columns found: {', '.join(frame.columns)}")
    if "epoch" in frame.columns:
        frame = frame.filter(pl.col("epoch") == pl.col("epoch").max())
    if "rank" in frame.columns:  # several ranks repeat rows to fill the last batch of a scoring: one of them counts
        frame = frame.sort("rank", maintain_order=True)
        frame = frame.filter(pl.col("rank") == pl.col("rank").min().over("id"))
    if len(twice := frame.filter(pl.col("id").is_duplicated())):
        raise UserError(f"{name} has {len(twice)} rows of ids that are there twice, the first {twice['id'][0]}")
    source = pl.col("source") if "source" in frame.columns else pl.lit(SOURCE)
    return frame.select("id", "num_tokens", "loss_sum", source=source)


def _frame(given: Any, name: str) -> pl.DataFrame:
    if isinstance(given, str | Path):
        return scan_shards(Path(given)).collect()
    if isinstance(given, pl.DataFrame):
        return given
    if isinstance(given, pl.LazyFrame):
        return given.collect()
    if isinstance(given, pa.Table) or type(given).__module__.partition(".")[0] == "pandas":
        return pl.DataFrame(given)
    kind = type(given).__name__
    raise UserError(f"{name} must be the folder of a LossLog, or a table of pandas, Polars or Arrow, got {kind}")


def _like(frame: pl.DataFrame, given: Any) -> Any:
    """The frame as a table of the kind that was given; of Polars for a folder."""
    if isinstance(given, pa.Table):
        return frame.to_arrow()
    if type(given).__module__.partition(".")[0] == "pandas":
        return frame.to_pandas()
    return frame.lazy() if isinstance(given, pl.LazyFrame) else frame
