"""Drop with a bound on good examples lost, by held-out trusted examples (probes) that were trained along.

A good example's score is as any probe's, so its p-value p = (1 + number of probes that score as high) / (1 + probes) is
at most u with chance u (Vovk; Bates et al., Testing for Outliers with Conformal p-values, Annals of Statistics 2023).

max_false_drop: drop what exceeds the k-th highest probe. The share of good examples above it is Beta(k, m + 1 - k) over
the draw of m probes, and of N good examples in the data it is beta-binomial; k is the largest with which this share
stays within the bound with a chance of 97.5%, N being half of the examples. So the bound holds for this run, not
just on average over many. It needs enough probes: 72 or more for 5%, 36 or more for 10%, where N is large.

fdr, in its place: Benjamini and Hochberg's step-up on the p-values, which bounds the expected share of good examples
among the dropped (their dependence through the probes is of the positive kind that it allows).

The bounds hold as far as probes are like the good examples: of the same kinds, in the same shares.

Example: 99 probes, a score that one of them exceeds: p = 2/100.
"""

from bisect import bisect_left

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import beta, betabinom

from forgetfilter.checks import FEWEST_PROBES
from forgetfilter.errors import UserError

from ..ahead import by_pieces
from .base import Rule, Scores, Verdict, percent, whether

LARGE = 10_000  # examples, from which on their number hardly matters
CONFIDENCE = 0.975  # that the share stays within max_false_drop

Array = NDArray[np.float64]


def p_values(score: Array, probes: Array) -> Array:
    """(1 + #{probes >= score}) / (m + 1), [n]; NaN without a score. `probes` [m] holds no NaN."""
    ordered, found = np.sort(probes), np.empty(len(score))

    def one(piece: slice) -> None:
        as_high = len(ordered) - np.searchsorted(ordered, score[piece], side="left")
        found[piece] = np.where(np.isnan(score[piece]), np.nan, (1 + as_high) / (len(ordered) + 1))

    by_pieces(one, len(score))
    return found


def probe_rank(num_probes: int, num_good: int, bound: float) -> int:
    """The largest k such that at most bound * num_good good examples exceed the k-th highest probe, with CONFIDENCE.

    0 where there is none. Of N good examples the number above the k-th highest of m probes is
    beta-binomial(N, k, m + 1 - k); for large N its share is Beta(k, m + 1 - k).
    """

    def held(rank: int) -> bool:
        shape = (rank, num_probes + 1 - rank)
        if num_good > LARGE:
            return bool(beta.cdf(bound, *shape) >= CONFIDENCE)
        return bool(betabinom.cdf(np.floor(bound * num_good), num_good, *shape) >= CONFIDENCE)

    return bisect_left(range(1, num_probes + 1), True, key=lambda rank: not held(rank))


def benjamini_hochberg(p_value: Array, rate: float) -> NDArray[np.bool_]:
    """[n] which are rejected at a false discovery rate; NaN never is.

    Example: 0.01, 0.04, 0.9 at 0.1: 0.04 <= 0.1 * 2 / 3, so the first two.
    """
    ordered = np.sort(p_value[~np.isnan(p_value)])
    within = np.flatnonzero(ordered <= rate * np.arange(1, len(ordered) + 1) / max(1, len(ordered)))
    limit = ordered[within[-1]] if len(within) else -np.inf
    return np.asarray(p_value <= limit)


def decide(
    score: Array, probe: NDArray[np.bool_], max_false_drop: float, fdr: float | None
) -> tuple[NDArray[np.bool_], float | None, Array, str]:
    """(drop [n], threshold, p-values [n], what was found); probes are never dropped. UserError with too few probes."""
    probes = score[probe & ~np.isnan(score)]
    if len(probes) < FEWEST_PROBES:
        raise UserError(
            f"filter.rule=conformal needs at least {FEWEST_PROBES} probes with a score, there are {len(probes)}: "
            "set data.probes or mixture.probes, and run again"
        )
    p_value = p_values(score, probes)
    others = int((~np.isnan(score) & ~probe).sum())
    if fdr is not None:
        drop = benjamini_hochberg(np.where(probe, np.nan, p_value), fdr)
        limit = f"p <= {p_value[drop].max():g}" if drop.any() else "no p-value is low enough: nothing dropped"
        return drop, None, p_value, f"{len(probes)} probes; false discovery rate at most {percent(fdr)}, {limit}"
    rank = probe_rank(len(probes), max(1, others // 2), max_false_drop)
    if rank == 0:
        found = f"{len(probes)} probes are too few for filter.max_false_drop={max_false_drop:g}: nothing dropped"
        return np.zeros(len(score), dtype=np.bool_), None, p_value, found
    threshold = float(np.sort(probes)[-rank])
    found = (
        f"{len(probes)} probes; at most {percent(max_false_drop)} of good examples dropped ({percent(CONFIDENCE)} sure)"
    )
    return (score > threshold) & ~probe, threshold, p_value, found


def apply(scores: Scores, signal: str, max_false_drop: float, fdr: float | None) -> Verdict:
    """`max_false_drop`: share of the good examples, 0 to 1. `fdr`: share of the dropped, 0 to 1, or None."""
    probe = np.zeros(len(scores.score), dtype=np.bool_) if scores.probe is None else scores.probe
    drop, threshold, p_value, found = decide(scores.score, probe, max_false_drop, fdr)
    if threshold is not None:
        dropped, kept = f"score above {threshold:.6g}", f"score up to {threshold:.6g}"
    elif drop.any():
        dropped, kept = (f"p {side} {p_value[drop].max():g}" for side in ("up to", "above"))
    else:
        return Verdict(drop, pl.lit(found), threshold, p_value, found)
    reason = whether(f"forgotten more than the probes allow ({dropped})", f"within what the probes show ({kept})")
    return Verdict(drop, reason, threshold, p_value, found)


def sweep(scores: Scores) -> list[float]:
    """Bounds in steps of a hundredth, up to one half of the good examples."""
    return [hundredths / 100 for hundredths in range(1, 51)]


RULE = Rule(name="conformal", settings=("max_false_drop", "fdr"), apply=apply, sweep=sweep)
