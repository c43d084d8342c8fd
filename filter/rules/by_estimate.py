"""What the rules that cut by the estimated number of unsafe rows have in common."""

import numpy as np
import polars as pl

from forgetfilter.errors import UserError

from .base import Ruling, Scores, percent, whether
from .estimate import FEWEST, Estimate

CLEAN = "the scores do not prove that any row is unsafe: nothing dropped; have more probes, or the rule conformal"


def needed(scores: Scores, rule: str) -> Estimate:
    """Raises UserError where there are too few probes."""
    if (known := scores.estimate) is None:
        raise UserError(
            f"filter.rule={rule} needs at least {FEWEST} probes with a score: "
            "set data.probes or mixture.probes, and run again"
        )
    return known


def above(scores: Scores, known: Estimate, cut: float | None, aim: str) -> Ruling:
    """Drops scores above the cut; nothing where there is none, or where it is not proven that any row is unsafe."""
    p_value, unsafe = scores.p_value, known.unsafe[0]
    if cut is None or not known.proven:
        return Ruling(np.zeros(len(scores.score), dtype=np.bool_), pl.lit(CLEAN), None, p_value, CLEAN)
    drop = scores.score > cut
    if scores.probe is not None:
        drop &= ~scores.probe
    lost = percent(round(known.good_dropped(cut), 3))
    found = f"{aim}; some {unsafe:.0f} of {known.rows} rows are unsafe, and {lost} of the good ones lost, by estimate"
    reason = whether(f"forgotten more than is wanted of a good row (score above {cut:.6g})", f"score up to {cut:.6g}")
    return Ruling(drop, reason, cut, p_value, found)
