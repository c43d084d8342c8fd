"""How well the scores rank the unsafe rows, as curves: ROC, and precision against recall, with the decision on them.

At each score that occurs, the rows with that score or a higher one count as found, so that rows of equal scores are
found together (Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 2006). Labels measure here; they
never steer the filter.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forgetfilter.report.charts import GREY, INK, PALETTE, axis_style, base_layout
from forgetfilter.report.figures import Figure

POINTS = 300  # the most points of a curve
OTHERS = {"all other rows": ("safe", "task"), "safe rows alone": ("safe",)}


@dataclass(frozen=True, eq=False)
class Found:
    """Rows found from each of k thresholds on, the highest first."""

    unsafe: NDArray[np.int64]
    """[k] unsafe rows with that score or a higher one; the last is their number."""
    good: NDArray[np.int64]
    """[k] the same of the others."""

    def thinned(self, most: int = POINTS) -> "Found":
        """At most so many of the thresholds, the first and the last among them, evenly by what they find of each."""
        half = most // 2
        if len(self.unsafe) <= most:
            return self
        steps = [np.linspace(found[0], found[-1], half) for found in (self.unsafe, self.good)]
        places = [np.searchsorted(found, step) for found, step in zip((self.unsafe, self.good), steps)]
        kept = np.unique(np.concatenate([*places, [0, len(self.unsafe) - 1]]))[-most:]
        return Found(self.unsafe[kept], self.good[kept])


def found(rows: pl.DataFrame) -> Found | None:
    """By `score` and `label` of some rows; None where there are not both unsafe and other ones."""
    steps = rows.group_by("score").agg(unsafe=(pl.col("label") == "unsafe").sum(), count=pl.len())
    steps = steps.sort("score", descending=True).select(pl.col("unsafe", "count").cast(pl.Int64).cum_sum())
    unsafe = steps["unsafe"].to_numpy()
    good = steps["count"].to_numpy() - unsafe
    return Found(unsafe, good) if len(steps) and unsafe[-1] and good[-1] else None


def ranking_figures(decisions: pl.DataFrame) -> dict[str, Figure]:
    """The two charts by their ids, of the labelled rows that have a score; empty where a group is missing."""
    rows = decisions.filter(pl.col("score").is_finite().fill_null(False)).drop_nulls("label")
    if (everything := found(rows)) is None:
        return {}
    curves = {name: found(rows.filter(pl.col("label").is_in(["unsafe", *labels]))) for name, labels in OTHERS.items()}
    if rows.filter(pl.col("label") == "task").is_empty():  # the two would be one
        curves.pop("safe rows alone")
    dropped = rows.filter("drop")["label"]
    hits = int((dropped == "unsafe").sum())
    return {
        "roc": _roc({name: one for name, one in curves.items() if one}, everything, hits, len(dropped) - hits),
        "precision-recall": _precision_recall(everything, hits, len(dropped) - hits),
    }


def _roc(curves: dict[str, Found], everything: Found, hits: int, lost: int) -> Figure:
    figure = _square("share of good rows dropped", "share of unsafe rows dropped")
    dash = {"color": GREY, "dash": "dot", "width": 1.3}
    figure.add(x=[0, 1], y=[0, 1], mode="lines", line=dash, name="by chance", hoverinfo="skip")
    for (name, one), colour in zip(curves.items(), PALETTE):
        thin = one.thinned()
        x, y = (np.append(0, part / part[-1]).round(6).tolist() for part in (thin.good, thin.unsafe))
        figure.add(x=x, y=y, mode="lines", line={"color": colour, "width": 2}, name=f"unsafe against {name}")
    _mark(figure, lost / int(everything.good[-1]), hits / int(everything.unsafe[-1]))
    return figure


def _precision_recall(everything: Found, hits: int, lost: int) -> Figure:
    """The steps of the curve are those whose area is the average precision."""
    figure = _square("recall", "precision")
    count, good = int(everything.unsafe[-1]), int(everything.good[-1])
    dash = {"color": GREY, "dash": "dot", "width": 1.3}
    share = count / (count + good)
    figure.add(x=[0, 1], y=[share, share], mode="lines", line=dash, name="by chance", hoverinfo="skip")
    thin = everything.thinned()
    recall, precision = thin.unsafe / count, thin.unsafe / (thin.unsafe + thin.good)
    line = {"color": PALETTE[0], "width": 2, "shape": "vh"}
    x, y = ([first, *part.round(6).tolist()] for first, part in ((0, recall), (float(precision[0]), precision)))
    figure.add(x=x, y=y, mode="lines", line=line, name="unsafe against all other rows")
    if hits + lost:
        _mark(figure, hits / count, hits / (hits + lost))
    return figure


def _square(x: str, y: str) -> Figure:
    figure = Figure(base_layout(400))
    figure.axes("x", x, range=[-0.02, 1.02], zeroline=False, **axis_style())
    figure.axes("y", y, range=[-0.02, 1.02], zeroline=False, **axis_style())
    return figure


def _mark(figure: Figure, x: float, y: float) -> None:
    """The decision."""
    marker = {"color": INK, "symbol": "diamond", "size": 11}
    figure.add(x=[round(x, 6)], y=[round(y, 6)], mode="markers", marker=marker, name="the decision")
