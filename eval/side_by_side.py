"""The differences between two ways to train, each with one run for each seed, as plain values for `compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from . import suites
from .paired import Difference, aligned, measured_in_all, paired, read_scores

Tables = list[pl.DataFrame]


def differences(first: Sequence[Path], second: Sequence[Path]) -> dict[str, dict[str, dict[str, Any]]]:
    """The difference second - first in each metric, over the prompts that both answered.

    Returns {SUITE: {METRIC: {"a", "b": [value, low, high] or null, "value", "low", "high", "n", "missing", "better",
    "headline", "verdict"}}}. `first` and `second` are the folders eval/MODEL, one for each seed, in the same order. A
    suite that not all of them have is left out. Where all seeds have the same prompts, a metric is the mean over the
    seeds, and its interval includes the spread between them. Where seeds have prompts of their own, all prompts
    together are one sample.
    """
    has = [{path.parent.name for path in folder.glob("*/scores.parquet")} for folder in (*first, *second)]
    return {name: _of_suite(suites.get(name), first, second) for name in measured_in_all(has)}


def _of_suite(suite: suites.Suite, first: Sequence[Path], second: Sequence[Path]) -> dict[str, dict[str, Any]]:
    pairs = [aligned([read_scores(folder / suite.name) for folder in pair], suite.name) for pair in zip(first, second)]
    a, b = _joined([pair[0] for pair in pairs]), _joined([pair[1] for pair in pairs])
    told = paired(suite.name, (first[0].name, second[0].name), a, b)
    names = [one.metric for one in told]
    headline = next((name for name in (*suite.headline, *names) if name in names), "")
    return {one.metric: _plain(one, one.metric == headline) for one in told}


def _joined(tables: Tables) -> Tables:
    """The tables unchanged if their prompts are the same, else one table of all of them."""
    if all(table["id"].equals(tables[0]["id"]) for table in tables):
        return tables
    return [
        pl.concat(
            table.with_columns(pl.concat_str(pl.lit(f"{n}/"), "id").alias("id")) for n, table in enumerate(tables)
        )
    ]


def _plain(one: Difference, headline: bool) -> dict[str, Any]:
    ends = {
        "a": one.a and list(one.a),
        "b": one.b and list(one.b),
        "value": one.value,
        "low": one.low,
        "high": one.high,
    }
    about = {"n": one.n, "missing": one.missing, "better": one.better, "verdict": one.verdict, "headline": headline}
    return ends | about
