"""Drop what exceeds a fixed threshold: score > phi. The paper's rule (Zhao et al., ICML 2024, arXiv 2312.12736).

Example: phi 0.5 drops a score of 0.51 and keeps one of 0.5.
"""

import polars as pl

from .base import Rule, decided, ranked, whether


def apply(frame: pl.DataFrame, signal: str, phi: float) -> pl.DataFrame:
    """`phi` is in the signal's unit."""
    drop = pl.col("score") > phi
    score = pl.col("score").round_sig_figs(6)
    reason = pl.format("{} {} {} {}", pl.lit(signal), score, whether(drop, "> phi", "<= phi"), pl.lit(f"{phi:g}"))
    return decided(ranked(frame), drop, reason)


RULE = Rule(name="phi", settings=("phi",), apply=apply)
