"""The joined table: each noisy example's tokens and its losses before and after, every id proven to be there once.

Columns: `id, source, label` (String; label null where unknown), `num_tokens` (label tokens), `before_loss_sum,
after_loss_sum` (nats), and `before_rouge1, after_rouge1` where both were generated. Rows in the data's order.
"""

import json
from pathlib import Path

import polars as pl

from forgetfilter.errors import UserError
from forgetfilter.shards import check_comparable, scan_shards

STATES = ("before", "after")
_NEGATIVE_NATS = -1e-3  # a mean loss may fall this far below 0 by rounding, no further


def load_table(data: Path, signals: Path) -> pl.DataFrame:
    """The table of a run, from its data/noisy.jsonl and its signals folder.

    Raises UserError where the two scorings are not comparable, an id is missing, foreign or there twice, the
    token counts differ, or a loss is not a number.
    """
    check_comparable(signals / "before", signals / "after")
    table = read_data(data)
    for state in STATES:
        rows = _read(signals / state, table["id"], {"num_tokens": pl.Int64, "loss_sum": pl.Float64})
        _check_losses(rows, signals / state)
        rows = rows.rename({"num_tokens": f"{state}_tokens", "loss_sum": f"{state}_loss_sum"})
        table = table.join(rows, on="id", how="left", maintain_order="left")
    table = _one_count(table, signals)
    if has_rouge(signals):
        table = _with_rouge(table, signals / "rouge1")
    return table.rechunk()


def read_data(data: Path) -> pl.DataFrame:
    """`id, source, label` of the canonical records, in their order."""
    if not data.exists():
        raise UserError(f"{data} is missing: run the mix stage first")
    schema = {"id": pl.String, "source": pl.String, "label": pl.String}
    try:
        table = pl.scan_ndjson(data, schema=schema).collect()
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{data} {_broken_line(data)}; run the mix stage again") from error
    if not len(table):
        raise UserError(f"{data} is empty: there is nothing to filter")
    for column in ("id", "source"):
        if table[column].null_count():
            row = table[column].is_null().arg_true()[0] + 1
            raise UserError(f"{data} row {row}: has no {column}; run the mix stage again")
    _refuse(table.filter(pl.col("id").is_duplicated()), f"{data}: {{}} more than once; run the mix stage again")
    return table


def has_rouge(signals: Path) -> bool:
    """Whether ROUGE-1 was generated for both states, completely."""
    return all((signals / "rouge1" / state / "manifest.json").exists() for state in STATES)


def _with_rouge(table: pl.DataFrame, folder: Path) -> pl.DataFrame:
    check_comparable(folder / "before", folder / "after")
    for state in STATES:
        rows = _read(folder / state, table["id"], {"rouge1": pl.Float64})
        wrong = rows.filter(~pl.col("rouge1").is_between(0, 1).fill_null(False))
        _refuse(wrong, f"{folder / state}: rouge1 is not between 0 and 1 for {{}}; score again")
        table = table.join(rows.rename({"rouge1": f"{state}_rouge1"}), on="id", how="left", maintain_order="left")
    return table


def _read(folder: Path, ids: pl.Series, columns: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    """`id` and the columns of a folder of shards, after the proof that its ids are exactly `ids`."""
    try:
        rows = scan_shards(folder).select(pl.col("id"), *(pl.col(c).cast(t) for c, t in columns.items())).collect()
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{folder} cannot be read ({str(error).splitlines()[0]}); score again") from error
    expected = pl.DataFrame({"id": ids})
    missing = expected.join(rows, on="id", how="anti", maintain_order="left")
    _refuse(missing, f"{folder}: no row for {{}} of {len(ids)} examples; score again")
    foreign = rows.join(expected, on="id", how="anti")
    _refuse(foreign, f"{folder}: rows for {{}} that the data does not have; score again")
    _refuse(rows.filter(pl.col("id").is_duplicated()), f"{folder}: {{}} scored more than once; score again")
    return rows


def _check_losses(rows: pl.DataFrame, folder: Path) -> None:
    tokens, loss = pl.col("num_tokens"), pl.col("loss_sum")
    possible = loss.is_finite() & (loss >= _NEGATIVE_NATS * tokens.clip(1)) & (tokens >= 0)
    _refuse(
        rows.filter(~possible.fill_null(False)),
        f"{folder}: the loss is NaN, infinite or negative for {{}}: "
        "the training diverged (lower train.noisy.lr or train.safe.lr) or the scoring broke; score again",
    )


def _one_count(table: pl.DataFrame, signals: Path) -> pl.DataFrame:
    """One `num_tokens` in the place of the two."""
    unequal = table.filter(pl.col("before_tokens") != pl.col("after_tokens"))
    _refuse(unequal, f"{signals}: num_tokens differs between before and after for {{}}; score both again")
    sums = [f"{state}_loss_sum" for state in STATES]
    return table.select("id", "source", "label", pl.col("before_tokens").alias("num_tokens"), *sums)


def _refuse(wrong: pl.DataFrame, message: str) -> None:
    """UserError with the number of the wrong ids and the first of them at `{}`, if there is one."""
    if len(wrong):
        ids = wrong["id"].unique().sort()
        shown = ", ".join(str(value)[:12] for value in ids.head(3))
        counted = "1 id" if len(ids) == 1 else f"{len(ids)} ids"
        raise UserError(message.replace("{}", f"{counted} ({shown}{', ...' if len(ids) > 3 else ''})"))


def _broken_line(data: Path) -> str:
    """Where and why a JSONL file cannot be read."""
    with open(data, "rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return f"line {number}: not a JSON object"
            except ValueError as error:
                return f"line {number}: not valid JSON ({error})"
    return "cannot be read: id, source and label must be text"
