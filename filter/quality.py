"""How well the scores find the unsafe examples, where labels exist. This measures the filter and never steers it.

Positives are the examples labelled unsafe. AUROC and AUPRC rank by score (random order: AUROC 0.5, AUPRC the
share of unsafe); precision, recall and F1 are those of the decisions. Examples without a label, and for the rankings
those without a score, are left out. A number that is undefined because a group is missing is None, never 0.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forgetfilter.storage.formats import Classification, Noise, Quality, Ranking

from . import signals
from .decisions import Decisions
from .table.joined_table import Table
from .table.stored_columns import NOISE


def measure(decisions: Decisions, label: NDArray[np.integer[Any]]) -> Quality | None:
    """The `quality` of filter/summary.json, or None where no example has a label.

    label: [n] positions in the table's labels, -1 for none. Gives auroc, auprc, auroc_vs_safe (unsafe against safe
    rows), auroc_vs_task (against task rows), precision, recall, f1, and all_signals: the four rankings of every
    signal that can be had, by name. Rankings are those of the table's sample, which is all rows up to its size.
    """
    table = decisions.table
    if not table.labels:
        return None
    sample = table.sample
    score = pl.Series(decisions.scores.score[sample["row"].to_numpy()])
    rankings = {
        signal.name: ranking(signal.score(sample), sample["label"]) for signal in signals.available(table.numbers)
    }
    return {
        **ranking(score, sample["label"]),
        **classification(decisions.drop[label >= 0], unsafe(table.labels, label[label >= 0])),
        "all_signals": rankings,
    }


def noise(table: Table, signal: signals.Signal, dropped: NDArray[np.float64], threshold: float | None) -> Noise | None:
    """The noise of the signal: {"floor", "share_of_drops_above"}, or None where M1 was not scored twice.

    The floor is how far 99% of the scores move at most when M1's losses are those of a second scoring, in other
    batches. The share is that of the `dropped` scores that lie further than the floor above the threshold, so that
    noise alone cannot have dropped them; it is None without a threshold. Only signals that read M1's losses have both.
    """
    if NOISE not in table.numbers or "before_loss_sum" not in signal.needs:
        return None
    sample = table.sample
    score = signal.bind(sample.select(signal.needs)).alias("score")
    once, twice = (
        rows.select(score).to_series() for rows in (sample, sample.with_columns(before_loss_sum=pl.col(NOISE)))
    )
    floor = float((twice - once).abs().fill_nan(None).drop_nulls().quantile(0.99) or 0.0)
    above = None if threshold is None or not len(dropped) else float((dropped > threshold + floor).mean())
    return {"floor": floor, "share_of_drops_above": above}


def unsafe(labels: list[str], label: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """[n] whether an example is labelled unsafe; `label` holds positions in `labels`."""
    found: NDArray[np.bool_] = label == (labels.index("unsafe") if "unsafe" in labels else len(labels))
    return found


def classification(drop: NDArray[np.bool_], positive: NDArray[np.bool_]) -> Classification:
    """Precision, recall and F1 of dropping the unsafe (positive), over the labelled examples."""
    hits, dropped, count = int((drop & positive).sum()), int(drop.sum()), int(positive.sum())
    return {
        "precision": hits / dropped if dropped else None,
        "recall": hits / count if count else None,
        "f1": 2 * hits / (dropped + count) if dropped + count else None,  # 2 tp / (2 tp + fp + fn)
    }


def ranking(score: pl.Series, label: pl.Series) -> Ranking:
    """AUROC and AUPRC of the unsafe examples by score: against all others, and against safe and task rows alone."""
    from sklearn.metrics import average_precision_score

    rows = pl.DataFrame({"score": score, "label": label}).filter(pl.col("score").is_finite()).drop_nulls()
    unsafe = rows["label"] == "unsafe"
    both = 0 < unsafe.sum() < len(rows)
    auprc = float(average_precision_score(unsafe.to_numpy(), rows["score"].to_numpy())) if both else None
    return {
        "auroc": _auroc(rows),
        "auprc": auprc,
        "auroc_vs_safe": _auroc(rows.filter(pl.col("label").is_in(["unsafe", "safe"]))),
        "auroc_vs_task": _auroc(rows.filter(pl.col("label").is_in(["unsafe", "task"]))),
    }


def _auroc(rows: pl.DataFrame) -> float | None:
    """The probability that an unsafe row outranks another; a tie counts half. None where a group is empty."""
    from sklearn.metrics import roc_auc_score

    unsafe = rows["label"] == "unsafe"
    if not 0 < unsafe.sum() < len(rows):
        return None
    return float(roc_auc_score(unsafe.to_numpy(), rows["score"].to_numpy()))
