"""A metric with its 95% interval: percentile bootstrap over prompts (Efron and Tibshirani 1993, chapter 13).

Every metric here is a function of the sums of a few columns over the prompts (a mean, a difference of counts),
so a resample is a gather and a sum, and all 2000 are done in a few array operations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
# Sums over n prompts, shape [..., K], and n -> values, shape [...]
Statistic = Callable[[Array, int], Array]

RESAMPLES = 2000
SEED = 0
CHUNK = 4_000_000  # resampled prompts held at once


@dataclass(frozen=True)
class Metric:
    """A measured value. `value`, `low` and `high` are None where nothing was scored."""

    value: float | None
    low: float | None
    """2.5th percentile over the resamples."""
    high: float | None
    """97.5th percentile over the resamples."""
    n: int
    """Prompts scored."""
    missing: int
    """Prompts that could not be scored: never counted as good or bad."""
    better: str
    """Which values are better: lower, higher, or zero (the nearer to 0)."""


def mean(sums: Array, n: int) -> Array:
    """The mean of the first column."""
    return np.asarray(sums[..., 0] / n)


def measure(columns: Array, statistic: Statistic, missing: int, better: str) -> Metric:
    """The metric of `columns` [n, K] (one row a scored prompt), with its interval; the same for the same input."""
    columns = np.asarray(columns, dtype=np.float64)
    n = len(columns)
    if n == 0:
        return Metric(None, None, None, 0, missing, better)
    value = float(statistic(columns.sum(axis=0), n))
    low, high = np.percentile(statistic(_resampled_sums(columns), n), [2.5, 97.5])
    return Metric(value, float(low), float(high), n, missing, better)


def measure_mean(values: list[float | None], better: str) -> Metric:
    """The mean of what was scored; None is missing."""
    scored = [float(value) for value in values if value is not None]
    return measure(np.array(scored).reshape(-1, 1), mean, len(values) - len(scored), better)


def _resampled_sums(columns: Array) -> Array:
    """The column sums of RESAMPLES draws of n prompts with replacement, [RESAMPLES, K]."""
    n = len(columns)
    generator = np.random.default_rng(SEED)
    at_once = max(1, CHUNK // n)
    parts = [min(at_once, RESAMPLES - start) for start in range(0, RESAMPLES, at_once)]
    return np.concatenate([columns[generator.integers(n, size=(part, n))].sum(axis=1) for part in parts])
