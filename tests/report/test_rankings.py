"""ROC, and precision against recall, compared with scikit-learn."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from forgetfilter.report.rankings import POINTS, found, ranking_figures

LABELS = ["unsafe", "safe", "task"]


def decisions(rows: int, values: int, labels: list[str] = LABELS) -> pl.DataFrame:
    """Rows whose scores have so many values, unsafe ones higher."""
    random = np.random.default_rng(rows)
    label = random.choice(labels, rows)
    score = (random.normal(size=rows) + (label == "unsafe")).clip(-3, 4)
    score = (score * values / 7).round() / values
    return pl.DataFrame({"label": label, "score": score, "drop": score > 0.2})


def drawn(rows: pl.DataFrame, chart: str) -> dict[str, tuple[list[float], list[float]]]:
    return {trace["name"]: (trace["x"], trace["y"]) for trace in ranking_figures(rows)[chart].data}


@pytest.mark.parametrize("values", [3, 20, 10**6])
def test_the_curves_are_those_of_scikit_learn(values: int) -> None:
    # With many ties, with some, and with none, every threshold has the same two shares, precision and recall.
    rows = decisions(200, values)
    unsafe, score = (rows["label"] == "unsafe").to_numpy(), rows["score"].to_numpy()
    x, y, _ = roc_curve(unsafe, score, drop_intermediate=False)
    roc = drawn(rows, "roc")["unsafe against all other rows"]
    assert roc[0] == pytest.approx(x, abs=1e-6) and roc[1] == pytest.approx(y, abs=1e-6)
    precision, recall, _ = precision_recall_curve(unsafe, score)
    curve = [part[1:] for part in drawn(rows, "precision-recall")["unsafe against all other rows"]]  # it begins at 0
    told = [part[-2::-1] for part in (recall, precision)]  # without the point of no rows, whose precision is made up
    assert curve[0] == pytest.approx(told[0], abs=1e-6) and curve[1] == pytest.approx(told[1], abs=1e-6)
    assert np.trapezoid(roc[1], roc[0]) == pytest.approx(roc_auc_score(unsafe, score), abs=1e-5)
    area = np.diff(curve[0], prepend=0) @ np.array(curve[1])
    assert area == pytest.approx(average_precision_score(unsafe, score), abs=1e-5)


def test_safe_rows_alone_have_a_curve_where_there_are_task_rows_too() -> None:
    # It is scikit-learn's of these rows; without task rows it would be the other one again.
    rows = decisions(150, 30)
    few = rows.filter(pl.col("label") != "task")
    x, y, _ = roc_curve((few["label"] == "unsafe").to_numpy(), few["score"].to_numpy(), drop_intermediate=False)
    told = drawn(rows, "roc")["unsafe against safe rows alone"]
    assert told[0] == pytest.approx(x, abs=1e-6) and told[1] == pytest.approx(y, abs=1e-6)
    assert "unsafe against safe rows alone" not in drawn(few, "roc")


def test_the_decision_lies_on_the_curves_where_one_cut_made_it() -> None:
    # By hand: the two highest of four rows are dropped, an unsafe and a safe one, of two each. Rows without a label or
    # a score are left out.
    rows = pl.DataFrame(
        {
            "label": ["unsafe", "safe", "unsafe", "safe", None, "unsafe"],
            "score": [4.0, 3.0, 2.0, 1.0, 9.0, None],
            "drop": [True, True, False, False, True, True],
        }
    )
    assert drawn(rows, "roc")["the decision"] == ([0.5], [0.5])
    assert drawn(rows, "precision-recall")["the decision"] == ([0.5], [0.5])
    assert drawn(rows, "roc")["unsafe against all other rows"] == ([0, 0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1, 1])
    kept = drawn(rows.with_columns(drop=False), "precision-recall")
    assert "the decision" not in kept  # of nothing there is no precision


def test_many_points_are_thinned_to_some_of_them() -> None:
    # At most 300 of 20,000 thresholds are drawn, each of which is one of the curve, the last among them, and no gap
    # between two is wider than a fiftieth.
    whole = found(decisions(20_000, 10**9))
    assert whole is not None
    thin = whole.thinned()
    assert 200 < len(thin.unsafe) <= POINTS and (thin.unsafe[-1], thin.good[-1]) == (whole.unsafe[-1], whole.good[-1])
    assert {*zip(thin.unsafe.tolist(), thin.good.tolist())} <= {*zip(whole.unsafe.tolist(), whole.good.tolist())}
    for part in (thin.unsafe, thin.good):
        assert np.diff(part / part[-1]).max() < 0.02


@pytest.mark.parametrize("labels", [["unsafe"], ["safe", "task"]])
def test_one_group_alone_has_no_curve(labels: list[str]) -> None:
    # A share of nothing is not drawn as 0.
    assert ranking_figures(decisions(30, 10, labels)) == {}
