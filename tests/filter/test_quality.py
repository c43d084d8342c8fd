from itertools import permutations
from typing import Any

import numpy as np
import polars as pl
import pytest
from forgetfilter.filter import signals
from forgetfilter.filter.decide import decide
from forgetfilter.filter.quality import classification, ranking, unsafe


def test_ranking_by_hand() -> None:
    # For scores 4 u, 3 s, 2 u and 1 t, 3 of 4 pairs are right, 1 of 2 against safe and 2 of 2 against task; the average
    # precision is (1/1 + 2/3) / 2 = 5/6.
    out = ranking(pl.Series([3.0, 4.0, 1.0, 2.0]), pl.Series(["safe", "unsafe", "task", "unsafe"]))
    assert out == {"auroc": 0.75, "auprc": pytest.approx(5 / 6), "auroc_vs_safe": 0.5, "auroc_vs_task": 1.0}


def test_ties_are_chance() -> None:
    # Equal scores give an AUROC of 0.5 and an AUPRC that is the share of unsafe rows (2 of 5).
    out = ranking(pl.Series([1.0] * 5), pl.Series(["safe", "unsafe", "task", "unsafe", "safe"]))
    assert out == {"auroc": 0.5, "auprc": pytest.approx(0.4), "auroc_vs_safe": 0.5, "auroc_vs_task": 0.5}


def test_random_order_is_chance() -> None:
    # The mean AUROC over all 24 orderings of two unsafe and two safe rows is one half.
    label = pl.Series(["unsafe", "unsafe", "safe", "safe"])
    values = [ranking(pl.Series(order, dtype=pl.Float64), label)["auroc"] for order in permutations(range(4))]
    assert sum(value or 0 for value in values) / len(values) == pytest.approx(0.5)


def test_classification_by_hand() -> None:
    # If 2 unsafe and 1 safe row are dropped and 1 unsafe and 1 task row kept, precision and recall are 2/3 and F1 is
    # 2*2/(3+3).
    drop = np.array([True, True, True, False, False])
    positive = unsafe(["safe", "task", "unsafe"], np.array([2, 2, 0, 2, 1], dtype=np.int32))
    assert classification(drop, positive) == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3})


def test_undefined_is_null_not_zero() -> None:
    # Without unsafe rows there is no ranking and no recall, without dropped rows no precision, and each of them is
    # null.
    safe = pl.Series(["safe", "task"])
    assert ranking(pl.Series([1.0, 2.0]), safe) == dict.fromkeys(
        ("auroc", "auprc", "auroc_vs_safe", "auroc_vs_task"), None
    )
    assert classification(np.array([False, False]), unsafe(["safe", "task"], np.array([0, 1], dtype=np.int32))) == {
        "precision": None,
        "recall": None,
        "f1": None,
    }
    # unsafe and safe rows, no task rows: only that comparison is undefined
    out = ranking(pl.Series([1.0, 2.0]), pl.Series(["safe", "unsafe"]))
    assert out == {"auroc": 1.0, "auprc": 1.0, "auroc_vs_safe": 1.0, "auroc_vs_task": None}


def test_rows_without_score_are_not_ranked() -> None:
    # An unsafe row without a score is in no pair of the ranking; tests/filter/test_decide.py counts it as a miss of the
    # decision.
    out = ranking(pl.Series([2.0, None, 1.0]), pl.Series(["unsafe", "unsafe", "safe"]))
    assert out["auroc"] == 1.0


def test_measure_gives_every_signal(make_toy: Any) -> None:
    # With mean losses u 0.5 -> 1.5, s 1 -> 3 and t 2 -> 2 the rise and the relative rise (1 / 0.55 = 1.818 against 2 /
    # 1.05 = 1.905) rank s first, the probability drop ranks u first (0.383 against 0.318), and the row without a label
    # counts nowhere.
    rows = [("u", "a", "unsafe", 1, 0.5, 1.5), ("s", "a", "safe", 1, 1.0, 3.0), ("t", "a", "task", 1, 2.0, 2.0)]
    toy = make_toy([*rows, ("x", "a", None, 1, 0.0, 9.0)])
    out = decide(toy.task(signal="loss_rise", rule="top_k", top_k=2))["quality"]
    table = ("key", "num_tokens", "before_loss_sum", "after_loss_sum")
    assert set(out["all_signals"]) == {signal.name for signal in signals.available(table)}
    assert out["auroc"] == out["all_signals"]["loss_rise"]["auroc"] == 0.5
    assert out["auroc_vs_safe"] == 0.0 and out["auroc_vs_task"] == 1.0
    assert out["all_signals"]["relative_loss_rise"]["auroc"] == 0.5
    assert out["all_signals"]["probability_drop"]["auroc"] == 1.0
    assert out["precision"] == 0.0 and out["recall"] == 0.0 and out["f1"] == 0.0
