"""Paired differences of two models' metrics on the same prompts, with 95% intervals, from stored scores.

Tables of scores are joined by prompt. Scores by another scorer, judge, formula or version cannot be compared and are
refused.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from forgetfilter.errors import UserError
from forgetfilter.files import write_json
from forgetfilter.process.progress import console

from . import suites
from .intervals import Metric, difference, over_seeds

SETTINGS = ("scorer", "judge", "formula", "refusal_rules")  # the columns of scores that say how these were made
PAIRS = (("refit", "noisy"), ("refit", "base"), ("noisy", "base"))  # the pairs of models that the report compares
ORDINAL = "_ordinal"  # the number of a row among those of its prompt, which are several where a suite takes samples


@dataclass(frozen=True)
class Difference:
    """The difference B - A of a metric; a and b hold value, low and high.

    Values are None where no prompt was scored for both.
    """

    suite: str
    metric: str
    models: tuple[str, str]
    a: tuple[float, float, float] | None
    b: tuple[float, float, float] | None
    value: float | None
    low: float | None
    high: float | None
    n: int
    missing: int
    better: str

    @property
    def verdict(self) -> str:
        """Whether B is better or worse than A, in words. This is said only where the interval excludes 0."""
        if self.value is None or self.low is None or self.high is None or self.a is None or self.b is None:
            return "nothing scored"
        if self.low <= 0 <= self.high:
            return "no clear difference"
        if self.better == "zero":
            return "B nearer to 0" if abs(self.b[0]) < abs(self.a[0]) else "B further from 0"
        return "B better" if (self.value < 0) == (self.better == "lower") else "B worse"


def write_differences(run: Path, suites_here: list[str], models: list[str]) -> None:
    """Writes eval/differences.json: {MODEL: {OTHER: {SUITE: {METRIC: {"value", "low", "high", "n"}}}}}.

    The values are MODEL minus OTHER over the same prompts, for those of PAIRS that were both measured.
    """
    differences: dict[str, dict[str, Any]] = {}
    for model, other in PAIRS:
        if {model, other} <= {*models}:
            compared = {suite: _compared(run, suite, model, other) for suite in suites_here}
            differences.setdefault(model, {})[other] = compared
    path = run / "eval" / "differences.json"
    if differences:
        write_json(path, differences)
    else:
        path.unlink(missing_ok=True)


def _compared(run: Path, suite: str, model: str, other: str) -> dict[str, dict[str, Any]]:
    a, b = aligned([read_scores(run / "eval" / name / suite) for name in (other, model)], suite)
    differences = paired(suite, (other, model), [a], [b])
    return {one.metric: {"value": one.value, "low": one.low, "high": one.high, "n": one.n} for one in differences}


def paired(
    suite: str, models: tuple[str, str], first: list[pl.DataFrame], second: list[pl.DataFrame]
) -> list[Difference]:
    """The differences of a suite's metrics, from aligned scores with one table for each seed and side."""
    tables = [*first, *second]
    measure = suites.get(suite).metrics
    try:
        whole = [measure(table) for table in tables]
    except pl.exceptions.ColumnNotFoundError as error:
        raise UserError(
            f"{suite} was scored by an earlier version of forgetfilter: run forgetfilter eval again"
        ) from error
    # a prompt counts only if all tables hold the same nulls in its row, so that it was scored in all or in none
    nulls = [table.select(pl.all().is_null()).to_numpy() for table in tables]
    same = pl.Series(np.all([(one == nulls[0]).all(axis=1) for one in nulls], axis=0))
    complete = [measure(table.filter(same)) for table in tables]
    differences = []
    for name in whole[0]:
        metrics = [metrics[name] for metrics in complete if name in metrics]
        if len(metrics) < len(tables) or any(metric.sample is None for metric in metrics):
            console.print(f"compare: leaves out {name} of {suite}, which has no paired prompts")
            continue
        total = max(one[name].n + one[name].missing for one in whole if name in one)
        differences.append(_difference(suite, name, models, metrics, total))
    return differences


def _difference(suite: str, name: str, models: tuple[str, str], metrics: list[Metric], total: int) -> Difference:
    samples = [metric.sample for metric in metrics if metric.sample is not None]
    n, statistic = len(samples[0].columns), samples[0].statistic
    if n == 0 or len({sample.columns.shape for sample in samples}) > 1:
        return Difference(suite, name, models, None, None, None, None, None, 0, total, metrics[0].better)
    columns = np.stack([sample.columns for sample in samples])
    half = len(samples) // 2
    a, b = columns[:half], columns[half:]
    value, low, high = difference(a, b, statistic)
    return Difference(
        suite,
        name,
        models,
        a=over_seeds(a, statistic),
        b=over_seeds(b, statistic),
        value=value,
        low=low,
        high=high,
        n=n,
        missing=total - n,
        better=metrics[0].better,
    )


def measured_in_all(measured: Sequence[Collection[str]]) -> list[str]:
    """The suites that stand in each of some lists, in the order of all suites, and then the tasks of the harness."""
    tasks = sorted(name for name in measured[0] if name.startswith(suites.TASK_PREFIX))
    names = (*(suite.name for suite in suites.every()), *tasks)
    return [name for name in names if all(name in one for one in measured)]


def aligned(tables: list[pl.DataFrame], suite: str) -> list[pl.DataFrame]:
    """The tables, reduced to their common prompts in the same order. UserError where they cannot be compared."""
    if len({tuple(table.columns) for table in tables}) > 1:
        names = sorted(set().union(*(table.columns for table in tables)))
        odd = [name for name in names if not all(name in table.columns for table in tables)] or ["their order"]
        raise UserError(
            f"{suite}: scored by different versions of the suite (columns that differ: {', '.join(odd)}); "
            "run forgetfilter eval on both again"
        )
    for name in SETTINGS:
        if name in tables[0].columns:
            used = [set(table[name].drop_nulls().to_list()) for table in tables]
            if any(one != used[0] for one in used if one and used[0]):
                shown = ", ".join(sorted(set().union(*used)))
                raise UserError(f"{suite}: {name} differs ({shown}): score both with the same one, then compare")
    keys = ["id", ORDINAL]
    keyed = [table.with_columns(pl.col("id").cum_count().over("id").alias(ORDINAL)) for table in tables]
    common = keyed[0].select(keys)
    for other in keyed[1:]:
        common = common.join(other.select(keys), on=keys, how="semi", maintain_order="left")
    if not len(common):
        raise UserError(f"{suite}: the two have no prompt in common: evaluate both on the same prompts")
    if any(len(table) > len(common) for table in keyed):
        most = max(len(table) for table in keyed)
        console.print(f"compare: {suite}: only the {len(common)} of {most} prompts that all have are compared")
    return [common.join(table, on=keys, how="left", maintain_order="left").select(tables[0].columns) for table in keyed]


def read_scores(folder: Path) -> pl.DataFrame:
    path = folder / "scores.parquet"
    try:
        table = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} is missing or not whole: run forgetfilter eval again") from error
    if "id" not in table.columns or "source" not in table.columns:
        raise UserError(f"{path} has no id and source: run forgetfilter eval again")
    return table.with_columns(pl.col(pl.Float32, pl.Float64).fill_nan(None))
