"""A metric with its 95% interval, and the paired difference of two models over the same prompts.

Every metric here is a function of the sums of a few columns over the prompts (a mean, a difference of counts). A
resample is then a row of counts times the columns, and all 2000 resamples are one product of matrices. The interval for
each kind of metric was chosen by its coverage (bench/coverage.py, docs/statistics.md):
- A share of prompts has Jeffreys' interval (Brown, Cai and DasGupta 2001). The bootstrap of a share is a binomial: it
  covers 71% at n = 24 and p = 0.05, and gives an interval of no width where all prompts agree.
- A mean of scores has the studentised bootstrap (Efron and Tibshirani 1993, section 12.5), which follows the skew of
  the scores; it is kept within their range.
- A function of how many prompts are of each kind (s_AMB, s_DIS, kappa) has the quantiles of its posterior with half a
  prompt of each kind added, which for a share is Jeffreys' interval. The bootstrap covers 78% for s_DIS where 12% of 24
  answers are known.
- The difference of two shares over the same prompts has Agresti and Min's interval (2005). The bootstrap covers 51%
  where one model alone hits 3% of 24 prompts, and gives an interval of no width where no prompt flipped.
- Everything else has percentiles of the bootstrap over prompts; their levels are widened for small n as Student's t
  distribution is (Hesterberg 2015, section 3.3).
- A mean over several seeds has the jackknife's variance over prompts plus the variance between seeds, each with its own
  Student's t. Resampling three seeds gives too narrow an interval, and so do Satterthwaite's degrees of freedom.
The order of the prompts changes no digit, because they are sorted before they are resampled.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
# A function of the column sums over n prompts, shape [..., K], and of n; it returns values of shape [...].
Statistic = Callable[[Array, int], Array]

RESAMPLES = 2000
SEED = 0
CHUNK = 2_000_000  # how many resampled prompts are held in memory at once
TAIL = 0.025  # the probability outside a 95% interval on each side
Z = 1.959963984540054  # half the width of a normal 95% interval in standard errors


@dataclass(frozen=True)
class Sample:
    """What a metric was computed from: one row for each scored prompt, in the order of the scores."""

    columns: Array
    """[n, K]"""
    statistic: Statistic


@dataclass(frozen=True)
class Counted:
    """A statistic that depends only on how many prompts there are of each kind."""

    of: Statistic
    kinds: tuple[tuple[float, ...], ...]
    """All rows of columns that a prompt may have, whether one was seen or not."""
    added: float = 0.5
    """How many prompts of each kind the prior adds."""

    def __call__(self, sums: Array, n: int) -> Array:
        return self.of(sums, n)


@dataclass(frozen=True)
class Metric:
    """A measured value. `value`, `low` and `high` are None where nothing was scored."""

    value: float | None
    low: float | None
    """Lower end of the 95% interval; `value` itself where a single prompt gives no spread; None where it is unknown."""
    high: float | None
    """Upper end."""
    n: int
    """How many prompts were scored."""
    missing: int
    """How many prompts could not be scored. They are counted neither as good nor as bad."""
    better: str
    """Which values are better: lower, higher, or zero (nearer to 0)."""
    sample: Sample | None = field(default=None, repr=False, compare=False)
    """What the metric was computed from, where `measure` computed it."""

    def told(self) -> dict[str, Any]:
        """The metric's entry in metrics.json: all fields but the sample."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "sample"}


def mean(sums: Array, n: int) -> Array:
    """The mean of the first column."""
    return np.asarray(sums[..., 0] / n)


def excess(sums: Array, n: int) -> Array:
    """The mean of the first column, less one half."""
    return np.asarray(sums[..., 0] / n - 0.5)


SHIFTS: dict[Statistic, float] = {mean: 0.0, excess: -0.5}  # the statistics that are a mean plus this constant


def measure(columns: Array, statistic: Statistic, missing: int, better: str) -> Metric:
    """The metric of `columns` [n, K], one row for each scored prompt, with its interval. It is deterministic."""
    columns = np.asarray(columns, dtype=np.float64)
    value, low, high = _estimate(columns, statistic) if len(columns) else (None, None, None)
    return Metric(value, low, high, len(columns), missing, better, Sample(columns, statistic))


def measure_mean(values: list[float | None], better: str) -> Metric:
    """The mean of the values that are not None; None counts as missing."""
    scored = [float(value) for value in values if value is not None]
    return measure(np.array(scored).reshape(-1, 1), mean, len(values) - len(scored), better)


def over_seeds(columns: Array, statistic: Statistic) -> tuple[float, float, float]:
    """Value, low and high of a statistic's mean over S >= 1 seeds; `columns` [S, n, K] are of the same n prompts."""
    if len(columns) == 1:
        return _estimate(columns[0], statistic)
    columns = columns[:, _order(np.concatenate(list(columns), axis=1))]
    return _crossed(_values(columns, statistic), _left_out(columns, statistic))


def difference(first: Array, second: Array, statistic: Statistic) -> tuple[float, float, float]:
    """Value, low and high of statistic(second) - statistic(first), both [S, n, K] with S seeds and the same n prompts.

    Prompts are resampled in pairs. Exchanging the two negates the value and the interval to the last digit.
    """
    if first.shape != second.shape or not first.shape[1]:
        raise ValueError(f"paired samples need the same shape with a prompt in it, got {first.shape}, {second.shape}")
    value, low, high = _difference(first, second, statistic)
    opposite, opposite_low, opposite_high = _difference(second, first, statistic)
    return (value - opposite) / 2, (low - opposite_high) / 2, (high - opposite_low) / 2


def share_interval(hits: float, n: int) -> tuple[float, float]:
    """Jeffreys' interval of a share: quantiles of Beta(hits + 1/2, n - hits + 1/2).

    Without a hit its low end is 0, and without a miss its high end is 1.
    """
    from scipy.special import betaincinv  # takes a second to load, and the check of a config needs none of it

    low = float(betaincinv(hits + 0.5, n - hits + 0.5, TAIL)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 0.5, n - hits + 0.5, 1 - TAIL)) if hits < n else 1.0
    return low, high


def share_difference(gained: float, lost: float, n: int) -> tuple[float, float]:
    """Agresti and Min's interval of a difference of shares: of n prompts `gained` turned from 0 to 1 and `lost` from 1
    to 0.

    It is Wald's interval with half a prompt added to each of the four kinds.
    """
    gained, lost, n = gained + 0.5, lost + 0.5, n + 2
    value = (gained - lost) / n
    half = Z * float(np.sqrt(((gained + lost) / n - value**2) / n))
    return max(value - half, -1.0), min(value + half, 1.0)


def _estimate(columns: Array, statistic: Statistic) -> tuple[float, float, float]:
    columns = columns[_order(columns)]
    n = len(columns)
    value = float(statistic(columns.sum(axis=0), n))
    if (shift := SHIFTS.get(statistic)) is not None:
        shares = _are_shares(columns)
        low, high = share_interval(float(columns[:, 0].sum()), n) if shares else _studentised(columns[:, 0])
        return value, low + shift, high + shift
    if isinstance(statistic, Counted):
        return value, *_posterior(value, columns, statistic)
    return value, *_percentiles(value, statistic(_resampled_sums(columns), n), n)


def _difference(first: Array, second: Array, statistic: Statistic) -> tuple[float, float, float]:
    order = _order(np.concatenate([*first, *second], axis=1))
    first, second = first[:, order], second[:, order]
    values = _values(second, statistic) - _values(first, statistic)
    if len(values) > 1:
        return _crossed(values, _left_out(second, statistic) - _left_out(first, statistic))
    n, value = first.shape[1], float(values[0])
    if statistic in SHIFTS and _are_shares(np.concatenate([first, second])):
        change = second[0, :, 0] - first[0, :, 0]
        low, high = share_difference(float((change > 0).sum()), float((change < 0).sum()), n)
        return value, min(low, value), max(high, value)
    if isinstance(statistic, Counted):
        return value, *_posterior(value, np.concatenate([first[0], second[0]], axis=1), _paired(statistic))
    # a separate product for each side, so that equal columns give equal sums to the last digit
    resampled = statistic(_resampled_sums(second[0]), n) - statistic(_resampled_sums(first[0]), n)
    return value, *_percentiles(value, resampled, n)


def _are_shares(columns: Array) -> bool:
    """Whether all numbers are 0 or 1."""
    return bool(np.isin(columns, (0.0, 1.0)).all())


def _values(columns: Array, statistic: Statistic) -> Array:
    """The statistic for each seed, [S] from [S, n, K]."""
    return statistic(columns.sum(axis=1), columns.shape[1])


def _left_out(columns: Array, statistic: Statistic) -> Array:
    """The statistic without each prompt in turn, [n, S] from [S, n, K]; a single prompt is not left out."""
    n = columns.shape[1]
    if n == 1:
        return _values(columns, statistic)[None]
    return np.asarray(statistic(columns.sum(axis=1, keepdims=True) - columns, n - 1)).T


def _studentised(values: Array) -> tuple[float, float]:
    """The ends of the interval of the mean of n values, from the resamples' t = (mean - value) / standard error."""
    n, value, least, most = len(values), float(values.mean()), float(values.min()), float(values.max())
    if least == most:
        return value, value
    centred = values - value  # the squares of large values would lose the digits of their spread
    means, squares = (_resampled_sums(np.stack([centred, centred**2], axis=1)) / n).T
    errors = np.sqrt(np.maximum(squares - means**2, 0.0))
    # a resample that drew a single value has no standard error: its t is as far out as can be
    t = np.where(errors > 1e-12 * (most - least), means / np.maximum(errors, 1e-300), np.sign(means) * 1e9)
    low, high = value - np.quantile(t, [1 - TAIL, TAIL]) * float(values.std())
    return min(max(float(low), least), value), max(min(float(high), most), value)


def _posterior(value: float, columns: Array, statistic: Counted) -> tuple[float, float]:
    """The ends from draws of the kinds' shares, which are Dirichlet with their counts plus the prior.

    `value` always lies between the ends.
    """
    n, weights = len(columns), [1.0] * len(columns) + [statistic.added] * len(statistic.kinds)
    kinds, which = np.unique(np.concatenate([columns, statistic.kinds]), axis=0, return_inverse=True)
    shares = np.random.default_rng(SEED).dirichlet(np.bincount(which.ravel(), weights), RESAMPLES)
    low, high = np.quantile(statistic(shares @ kinds * n, n), [TAIL, 1 - TAIL])
    return min(float(low), value), max(float(high), value)


def _paired(statistic: Counted) -> Counted:
    """The difference of a statistic, second minus first, over pairs of kinds, with the columns of both side by side."""

    def change(sums: Array, n: int) -> Array:
        first, second = np.split(sums, 2, axis=-1)
        return np.asarray(statistic(second, n) - statistic(first, n))

    pairs = tuple(a + b for a in statistic.kinds for b in statistic.kinds)
    return Counted(change, pairs, statistic.added / len(statistic.kinds))  # each model by itself keeps its prior


def _percentiles(value: float, resampled: Array, n: int) -> tuple[float, float]:
    """The ends from a statistic's resamples [RESAMPLES]; its value always lies between them."""
    from scipy.special import ndtr, stdtrit

    if n == 1:
        return value, value
    tail = float(ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, 1 - TAIL)))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return min(float(low), value), max(float(high), value)


def _crossed(values: Array, left_out: Array) -> tuple[float, float, float]:
    """The mean of the seeds' values [S], S > 1, and the ends of its interval; left_out [n, S] comes from `_left_out`.

    The variance between prompts already holds the interaction of prompts and seeds (`both`), so the interaction is
    subtracted from the variance between seeds. Each of the two parts has its own Student's t, weighted by its size
    (Cochran and Cox 1950).
    """
    from scipy.special import stdtrit

    num_seeds, n, value = len(values), len(left_out), float(values.mean())
    of_prompts, of_seeds = left_out.mean(axis=1, keepdims=True), left_out.mean(axis=0, keepdims=True)
    rest = left_out - of_prompts - of_seeds + left_out.mean()
    prompts = float(np.square(of_prompts - left_out.mean()).sum()) * (n - 1) / n
    both = float(np.square(rest).sum()) * (n - 1) / n / num_seeds / (num_seeds - 1)
    seeds = max(float(values.var(ddof=1)) / num_seeds - both, 0.0)
    if prompts + seeds == 0:
        return value, value, value
    quantiles = stdtrit([max(n - 1, 1), num_seeds - 1], 1 - TAIL)
    half = float(quantiles @ [prompts, seeds]) / float(np.sqrt(prompts + seeds))
    return value, value - half, value + half


def _order(columns: Array) -> Array:
    """The order of the rows by their values, so that equal sets of rows are resampled alike."""
    return np.lexsort(columns.T[::-1])


def _resampled_sums(columns: Array) -> Array:
    """The column sums of RESAMPLES draws of n prompts with replacement, [RESAMPLES, K]."""
    n = len(columns)
    counts = _kept_counts(n) if n * RESAMPLES <= CHUNK else _counts(n)
    return np.concatenate([part @ columns for part in counts])


@functools.lru_cache(maxsize=4)
def _kept_counts(n: int) -> tuple[Array, ...]:
    return tuple(_counts(n))


def _counts(n: int) -> Iterator[Array]:
    """How often each resample draws each prompt: [RESAMPLES, n], in parts."""
    generator = np.random.default_rng(SEED)
    at_once = max(1, CHUNK // n)
    for start in range(0, RESAMPLES, at_once):
        part = min(at_once, RESAMPLES - start)
        drawn = generator.integers(n, size=(part, n)) + np.arange(part)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=part * n).reshape(part, n).astype(np.float64)
