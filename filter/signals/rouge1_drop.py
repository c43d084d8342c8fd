"""Drop of ROUGE-1 of the greedy answer against the reference: before - after, from -1 to 1.

The paper's own signal (Zhao et al., ICML 2024, arXiv 2312.12736): F-measure with stemming. Needs a scoring with
score.rouge=true, hundreds of times slower than the losses.

Example: ROUGE-1 0.9 before and 0.25 after: score 0.65.
"""

import polars as pl

from .base import ROUGE_COLUMNS, Signal, Stored, where_tokens

STORED = Stored(ROUGE_COLUMNS, "score.rouge", "ROUGE-1, which was not stored: score with score.rouge=true")

SIGNAL = Signal(
    name="rouge1_drop",
    needs=("num_tokens", *ROUGE_COLUMNS),
    # as with the losses, an answer that was cut away whole has no score
    expression=where_tokens(pl.col("before_rouge1") - pl.col("after_rouge1")),
    unit="ROUGE-1 F-measure",
    doc="drop of the greedy answer's ROUGE-1: before - after",
    axis="drop of ROUGE-1",
    stored=(STORED,),
)
