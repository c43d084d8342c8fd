"""How well the scores find the unsafe examples, where labels exist. Measures the filter; never steers it.

Positives are the examples labelled unsafe. AUROC and AUPRC rank by score (random order: AUROC 0.5, AUPRC the
share of unsafe); precision, recall and F1 are those of the decisions. What has no label, or for the rankings no
score, is left out. A number that a missing group leaves undefined is None, never 0.
"""

from typing import Any

import polars as pl

from .signals import Signal

Numbers = dict[str, float | None]


def measure(decisions: pl.DataFrame, table: pl.DataFrame, signals: list[Signal]) -> dict[str, Any] | None:
    """The `quality` of filter/summary.json, or None where no example has a label.

    decisions: `label, score, drop`, a row an example; table: the columns that `signals` need, and `label`.
    Gives auroc, auprc, auroc_vs_safe (unsafe against safe rows), auroc_vs_task (against task rows), precision,
    recall, f1, and all_signals: the four rankings of every given signal by name.
    """
    if not decisions["label"].count():
        return None
    rankings = {
        signal.name: ranking(table.select(score=signal.expression).to_series(), table["label"]) for signal in signals
    }
    return {
        **ranking(decisions["score"], decisions["label"]),
        **classification(decisions["drop"], decisions["label"]),
        "all_signals": rankings,
    }


def classification(drop: pl.Series, label: pl.Series) -> Numbers:
    """Precision, recall and F1 of dropping the unsafe, over the labelled examples."""
    rows = pl.DataFrame({"drop": drop, "unsafe": label == "unsafe"}).drop_nulls()
    hits = int((rows["drop"] & rows["unsafe"]).sum())
    dropped, unsafe = int(rows["drop"].sum()), int(rows["unsafe"].sum())
    return {
        "precision": hits / dropped if dropped else None,
        "recall": hits / unsafe if unsafe else None,
        "f1": 2 * hits / (dropped + unsafe) if dropped + unsafe else None,  # 2 tp / (2 tp + fp + fn)
    }


def ranking(score: pl.Series, label: pl.Series) -> Numbers:
    """AUROC and AUPRC of finding the unsafe by score: against all others, against safe and task rows apart."""
    from sklearn.metrics import average_precision_score

    rows = pl.DataFrame({"score": score, "label": label}).drop_nulls()
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
    """The chance that an unsafe row outranks another, a tie counting half; None where a group is empty."""
    from sklearn.metrics import roc_auc_score

    unsafe = rows["label"] == "unsafe"
    if not 0 < unsafe.sum() < len(rows):
        return None
    return float(roc_auc_score(unsafe.to_numpy(), rows["score"].to_numpy()))
