"""Drop with a bound on good examples lost, by held-out trusted examples (probes) that were trained along.

A good example's score is as any probe's, so its p-value p = (1 + number of probes that score as high) / (1 + probes) is
at most u with chance u (Vovk; Bates et al., Testing for Outliers with Conformal p-values, Annals of Statistics 2023).

max_false_drop: drop what exceeds the k-th highest probe. The share of good examples above it is Beta(k, m + 1 - k) over
the draw of m probes, and of N good examples in the data it is beta-binomial; k is the largest with which this share
stays within the bound with a chance of 97.5% (confidence), N being half of the examples, and of 95% however many more
of them are good: among few examples the share moves in steps. So the bound holds for this run, not just on average over
many. It needs enough probes: 72 or more for 5%, 36 or more for 10%, where N is large.

With confidence=average, k is the largest with k / (m + 1) <= max_false_drop: that is the expected share of the good
examples above the k-th highest probe, so the bound holds on average over runs, exactly and for any m and N. More unsafe
rows are found. confidence=auto takes it where the estimate proves that there are unsafe rows, which do more harm than
the good rows that are lost; where all rows may be good, it keeps the bound for this run with 97.5%.

fdr, in its place: Benjamini and Hochberg's step-up on the p-values, which bounds the expected share of good examples
among the dropped (their dependence through the probes is of the positive kind that it allows).

The bounds hold as far as probes are like the good examples: of the same kinds, in the same shares.

Example: 99 probes, a score that one of them exceeds: p = 2/100.
"""

import math
from bisect import bisect_left

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forgetfilter.errors import UserError

from .base import Known, Rule, Ruling, Scores, p_values, percent, whether

FEWEST_PROBES = 20  # that say anything of a share as small as 5%
LARGE = 10_000  # examples, from which on their number hardly matters
CONFIDENCE = 0.975  # that the share stays within max_false_drop where half of the examples are good
AVERAGE = "average"  # in its place: the expected share stays within it
MORE = "have more probes, or allow more"
SLACK = 0.025  # by which it may be less however many more are good
STEPS = 20  # of the number of good examples; a few would do, but for bounds that are no whole part of one

Array = NDArray[np.float64]


def chance_within(rank: int, num_probes: int, num_good: Array, bound: float) -> Array:
    """That at most bound * num_good of so many good examples, [n], exceed the rank-th highest probe.

    Of N the number above the k-th highest of m probes is beta-binomial(N, k, m + 1 - k); for large N its share is
    Beta(k, m + 1 - k). At most x are above it where k probes or more are among the x + k highest of both, whose number
    is hypergeometric: a sum over k terms, where the beta-binomial needs x of them.
    """
    from scipy.special import betainc

    large = np.asarray(betainc(rank, num_probes + 1 - rank, bound), dtype=np.float64)
    if (num_good > LARGE).all():  # the sum would take memory by the number of probes
        return np.broadcast_to(large, num_good.shape)
    few = np.minimum(num_good, LARGE)
    top, fewer = np.floor(bound * few) + rank, np.arange(rank)[:, None]  # [k, 1] probes among the highest
    good = np.minimum(top - fewer, few)
    chance = np.exp(_log_choose(num_probes, fewer) + _log_choose(few, good) - _log_choose(few + num_probes, top))
    small = 1 - np.where(top - fewer <= few, chance, 0).sum(axis=0)
    return np.where(num_good > LARGE, large, small)


def _log_choose(count: Array | int, chosen: Array | NDArray[np.int64]) -> Array:
    from scipy.special import gammaln

    return np.asarray(gammaln(count + 1) - gammaln(chosen + 1) - gammaln(count - chosen + 1), dtype=np.float64)


def average_rank(num_probes: int, bound: float) -> int:
    """The largest k above whose probe at most a share `bound` of the good examples is expected; 0 where there is none.

    Example: above the 8th highest of 80 probes 8 / 81 = 9.9% of the good examples are expected.
    """
    return min(num_probes, math.floor(bound * (num_probes + 1) + 1e-9))


def probe_rank(num_probes: int, num_examples: int, bound: float, confidence: float = CONFIDENCE) -> tuple[int, float]:
    """(the largest k whose bound holds, as the module says; the chance that it does); (0, 0.0) where there is none.

    The chance is least just below a number of good examples that allows for one dropped example more, and rises from
    step to step: the first STEPS from half of the examples on are looked at.
    """
    half = max(1, num_examples // 2)
    steps = math.floor(bound * half) + np.arange(1, STEPS + 1)
    good = np.clip(np.append(half, np.ceil(steps / bound) - 1), half, max(half, num_examples))

    def held(rank: int) -> bool:
        chance = chance_within(rank, num_probes, good, bound)
        return bool(chance[0] >= confidence and chance.min() >= confidence - SLACK)

    rank = bisect_left(range(1, num_probes + 1), True, key=lambda rank: not held(rank))
    return rank, float(chance_within(rank, num_probes, good, bound).min()) if rank else 0.0


def benjamini_hochberg(p_value: Array, among: NDArray[np.bool_], rate: float) -> float:
    """The highest p-value that is rejected at a false discovery rate, `among` these examples; -inf if none is.

    Counted by value, of which there are hardly more than probes. Example: of 0.01, 0.04, 0.9 at 0.1 it is 0.04, which
    is at most 0.1 * 2 / 3.
    """
    rows = pl.LazyFrame({"p": p_value, "among": among}).filter(pl.col("among") & pl.col("p").is_not_nan())
    counted = rows.group_by("p").agg(count=pl.len()).sort("p").collect(engine="streaming")
    within = counted.filter(pl.col("p") <= rate * pl.col("count").cum_sum() / pl.col("count").sum())
    return float(within["p"][-1]) if len(within) else -math.inf


def decide(
    score: Array,
    probe: NDArray[np.bool_],
    max_false_drop: float,
    fdr: float | None,
    confidence: float | str = CONFIDENCE,
    p_value: Array | None = None,
) -> Ruling:
    """The ruling on [n] scores; probes are never dropped. `confidence` is a number or AVERAGE, and `p_value` may be
    given. UserError with too few probes."""
    probes = score[probe & ~np.isnan(score)]
    if len(probes) < FEWEST_PROBES:
        raise UserError(
            f"filter.rule=conformal needs at least {FEWEST_PROBES} probes with a score, there are {len(probes)}: "
            "set data.probes or mixture.probes, and run again"
        )
    p_value = p_values(score, probes) if p_value is None else p_value
    if fdr is None:
        num_examples = int(np.count_nonzero(~np.isnan(score) & ~probe))
        threshold, note = _cut(probes, num_examples, max_false_drop, confidence)
        drop = score > (math.inf if threshold is None else threshold)
        dropped, kept = (f"score {side} {threshold or 0:.6g}" for side in ("above", "up to"))
    else:
        limit, threshold = benjamini_hochberg(p_value, ~probe, fdr), None
        drop = p_value <= limit
        note = f"{len(probes)} probes; false discovery rate at most {percent(fdr)}, "
        note += f"p <= {limit:g}" if limit >= 0 else "no p-value is low enough: nothing dropped"
        dropped, kept = f"p up to {limit:g}", f"p above {limit:g}"
    drop &= ~probe
    if threshold is None and not drop.any():
        return Ruling(drop, pl.lit(note), None, p_value, note)
    reason = whether(f"forgotten more than the probes allow ({dropped})", f"within what the probes show ({kept})")
    return Ruling(drop, reason, threshold, p_value, note)


def _cut(probes: Array, num_examples: int, bound: float, confidence: float | str) -> tuple[float | None, str]:
    """The probe above which is dropped, None where none will do; and what was found."""
    rank, sure = _rank(len(probes), num_examples, bound, confidence)
    if not rank:
        way = f"{MORE}, or set filter.confidence=average" if average_rank(len(probes), bound) else MORE
        return None, f"{_too_few(len(probes), f'filter.max_false_drop={bound:g}')}: nothing dropped; {way}"
    note = f"{len(probes)} probes; at most {percent(bound)} of good examples dropped"
    return float(np.sort(probes)[-rank]), f"{note} ({sure})"


def _rank(num_probes: int, num_examples: int, bound: float, confidence: float | str) -> tuple[int, str]:
    """Which probe, the highest being 1, is the cut, 0 for none; and how sure the bound is, in words."""
    if isinstance(confidence, str):
        return average_rank(num_probes, bound), "on average"
    rank, chance = probe_rank(num_probes, num_examples, bound, confidence)
    return rank, f"{math.floor(1000 * chance) / 10:g}% sure"


def apply(scores: Scores, signal: str, max_false_drop: float, fdr: float | None, confidence: float | str) -> Ruling:
    """`max_false_drop`: share of the good examples, `fdr`: of the dropped, or None, 0 to 1; `confidence`: 0 to 1,
    average or auto."""
    probe = np.zeros(len(scores.score), dtype=np.bool_) if scores.probe is None else scores.probe
    if confidence == "auto" and fdr is None:
        confidence = AVERAGE if scores.estimate and scores.estimate.proven else CONFIDENCE
    return decide(scores.score, probe, max_false_drop, fdr, confidence, scores.p_value)


def _too_few(probes: int, setting: str) -> str:
    return f"{probes} probes are too few for {setting}"


def hopeless(known: Known, max_false_drop: float, fdr: float | None, confidence: float | str) -> str:
    """Too few probes: no p-value is below 1 / (probes + 1), and no probe's rank keeps the bound."""
    if fdr is not None:
        return "" if fdr * (known.probes + 1) >= 1 else f"{_too_few(known.probes, f'filter.fdr={fdr:g}')}: {MORE}"
    rank, _ = _rank(known.probes, known.rows, max_false_drop, AVERAGE if confidence == "auto" else confidence)
    return "" if rank else f"{_too_few(known.probes, f'filter.max_false_drop={max_false_drop:g}')}: {MORE}"


def doubtful(known: Known, max_false_drop: float, fdr: float | None, confidence: float | str) -> str:
    """By confidence=auto: too few probes for the bound that holds where no unsafe rows are proven."""
    if fdr is not None or confidence != "auto" or _rank(known.probes, known.rows, max_false_drop, CONFIDENCE)[0]:
        return ""
    few = _too_few(known.probes, f"filter.max_false_drop={max_false_drop:g} with {percent(CONFIDENCE)} confidence")
    return f"{few}: {MORE}, or set filter.confidence=average"


def sweep(scores: Scores) -> list[float]:
    """Bounds in steps of a hundredth, up to one half of the good examples."""
    return [hundredths / 100 for hundredths in range(1, 51)]


RULE = Rule(
    name="conformal",
    settings=("max_false_drop", "fdr", "confidence"),
    apply=apply,
    doc="what is forgotten more than trusted probes allow",
    sweep=sweep,
    hopeless=hopeless,
    doubtful=doubtful,
    replaces={"fdr": "max_false_drop"},
    fewest_probes=FEWEST_PROBES,
)
