"""The decision: scores from stored signals, a rule over them, and the files that say what was done and why."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path, sha256_file, sha256_value, write_json
from forgetfilter.runs import Run
from forgetfilter.shards import read_manifest

from . import quality, rules, signals
from .table import STATES, has_rouge, load_table

COLUMNS = (
    "id",
    "source",
    "label",
    "num_tokens",
    "before_loss",  # mean, nats a label token
    "after_loss",
    "score",
    "rank",
    "drop",
    "reason",
)


def input_hash(run: Run) -> str:
    """The hash of all that the decision depends on: filter settings, the scorings' manifests, the data."""
    folder = run.folder / "signals"
    names = [*STATES, *(f"rouge1/{state}" for state in STATES if has_rouge(folder))]
    return sha256_value(
        {
            "filter": asdict(run.config.filter),
            "manifests": {name: read_manifest(folder / name) for name in names},
            "data": sha256_file(run.noisy_data),
        }
    )


def decide(run: Run) -> dict[str, Any]:
    """Writes filter/{decisions.parquet, kept.jsonl, dropped.jsonl, summary.json} of a run; returns the summary.

    Nothing is written where a check fails. summary.json comes last and is gone while the others change.
    """
    config = run.config.filter
    signal, rule = signals.get(config.signal), rules.get(config.rule)
    settings = {key: getattr(config, key) for key in rule.settings}
    table = load_table(run.noisy_data, run.folder / "signals")
    decisions = make_decisions(table, signal, rule, settings)
    summary = summarise(decisions, table, signal, {"name": rule.name, **settings})
    folder = run.folder / "filter"
    (folder / "summary.json").unlink(missing_ok=True)
    with atomic_path(folder / "decisions.parquet") as temporary:
        decisions.write_parquet(temporary)
    write_kept(run.noisy_data, folder / "kept.jsonl", decisions["drop"])
    write_dropped(run.noisy_data, folder / "dropped.jsonl", decisions)
    write_json(folder / "summary.json", summary)
    return summary


def make_decisions(
    table: pl.DataFrame, signal: signals.Signal, rule: rules.Rule, settings: dict[str, Any]
) -> pl.DataFrame:
    """The columns of decisions.parquet, in the table's order.

    The rule is given id, source and score, and nothing else: labels cannot steer it. UserError where the signal's
    columns are not there, or where nothing would be left to learn from.
    """
    if not set(signal.needs) <= set(table.columns):
        raise UserError(f"filter.signal={signal.name} needs ROUGE-1, which was not stored: score with score.rouge=true")
    scored = table.with_columns(
        score=signal.expression, before_loss=signals.mean_loss("before"), after_loss=signals.mean_loss("after")
    )
    scores = make_scores(scored)
    verdict = rule.apply(scores, signal.name, **settings)
    decisions = scored.with_columns(
        pl.Series("rank", scores.rank),
        pl.Series("drop", verdict.drop),
        *(pl.Series(name, column) for name, column in verdict.columns.items()),
    ).with_columns(pl.when(pl.col("rank") > 0).then("rank"))
    has_score = pl.col("score").is_not_null()
    decisions = decisions.with_columns(
        reason=pl.when(has_score).then(verdict.reason).otherwise(pl.lit(rules.NO_TOKENS))
    )
    if not decisions["score"].count():
        raise UserError("no noisy example has a label token: nothing can be scored; raise data.max_length")
    if not (~decisions["drop"] & decisions["score"].is_not_null()).any():
        raise UserError(
            f"filter.rule={rule.name} ({_written(settings)}) drops every example that has a score: "
            "nothing would be left to refit; drop less"
        )
    return decisions.select(COLUMNS).rechunk()


def make_scores(scored: pl.DataFrame) -> rules.Scores:
    """What the rule sees of `id, source, score`."""
    sources = scored["source"].unique().sort()
    codes = scored["source"].cast(pl.Enum(sources)).to_physical().to_numpy().astype(np.int32)
    ids = scored["id"].rank("ordinal").to_numpy()
    score = scored["score"].fill_null(float("nan")).to_numpy()
    return rules.Scores(score, codes, sources.to_list(), lambda rows: ids[rows])


def summarise(
    decisions: pl.DataFrame, table: pl.DataFrame, signal: signals.Signal, rule: dict[str, Any]
) -> dict[str, Any]:
    """The content of summary.json."""
    dropped = int(decisions["drop"].sum())
    return {
        "signal": signal.name,
        "rule": rule,
        "kept": len(decisions) - dropped,
        "dropped": dropped,
        "unscored": decisions["score"].null_count(),
        "by_source": _counts(decisions, "source"),
        "by_label": _counts(decisions, "label") or None,
        "quality": quality.measure(decisions, table, signals.available(table.columns)),
        "threshold": threshold(decisions),
    }


def threshold(decisions: pl.DataFrame) -> float | None:
    """The lowest score that was dropped; None where nothing was, or where no one score parts dropped from kept."""
    low = decisions.filter(pl.col("drop"))["score"].min()
    high = decisions.filter(~pl.col("drop"))["score"].max()
    assert low is None or isinstance(low, float)
    assert high is None or isinstance(high, float)
    return None if low is None or (high is not None and high > low) else low


def write_kept(data: Path, path: Path, drop: pl.Series) -> None:
    """Copies the lines of the kept examples, unchanged and in their order."""
    with open(data, "rb") as lines, atomic_path(path) as temporary, open(temporary, "wb") as kept:
        records = (line for line in lines if line.strip())
        kept.writelines(line for line, dropped in zip(records, drop, strict=True) if not dropped)


def write_dropped(data: Path, path: Path, decisions: pl.DataFrame) -> None:
    """The records of the dropped examples with score, rank and reason, most forgotten first."""
    with open(data, "rb") as lines, atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        dropped = decisions.with_columns(start=pl.Series(_starts(lines), dtype=pl.Int64)).filter("drop").sort("rank")
        for why in dropped.select("start", "score", "rank", "reason").iter_rows(named=True):
            lines.seek(why.pop("start"))
            record = json.loads(lines.readline()) | why
            handle.write(json.dumps(record, ensure_ascii=False) + "\n")


def _starts(lines: BinaryIO) -> list[int]:
    """The byte at which each record begins: texts are fetched one at a time, however large the data."""
    starts, position = [], 0
    for line in lines:
        if line.strip():
            starts.append(position)
        position += len(line)
    return starts


def _counts(decisions: pl.DataFrame, column: str) -> dict[str, dict[str, int]]:
    """{VALUE: {"kept", "dropped"}} over the rows in which the column is not null."""
    drop = pl.col("drop")
    counted = decisions.drop_nulls(column).group_by(column).agg(kept=(~drop).sum(), dropped=drop.sum()).sort(column)
    return {row.pop(column): row for row in counted.iter_rows(named=True)}


def _written(settings: dict[str, Any]) -> str:
    return ", ".join(f"filter.{key}={value}" for key, value in settings.items())
