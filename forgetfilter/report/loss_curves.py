"""The loss of each source over the steps of the two finetunings, read from the loss logs without a model.

Where the run's data has labels, a source is split by label, so that its unsafe rows are seen apart from its good ones.
"""

from pathlib import Path

import polars as pl

from forgetfilter.report.charts import GRID, INK, PALETTE, safe_name
from forgetfilter.report.figures import Figure, panels
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import scan_shards

POINTS = 40  # the most points of a curve
Curves = dict[str, list[tuple[float, float]]]


def loss_curves(folder: Path) -> dict[str, Curves]:
    """The curves of noisy and safe, where they were logged: {SOURCE or SOURCE (LABEL): [(step, nats a token)]}."""
    paths = RunPaths(folder)
    data = {"noisy": paths.noisy_data, "safe": paths.safe_data}
    logged = {name: paths.model(name) / "losses" for name in data}
    return {name: _curves(log, data[name]) for name, log in logged.items() if (log / "manifest.json").exists()}


def _curves(log: Path, data: Path) -> Curves:
    """For each source, the mean loss of its tokens in each of POINTS equal parts of the steps, at the mean step."""
    known = pl.scan_ndjson(data, schema={"id": pl.String, "label": pl.String})
    label = pl.when(pl.col("label").is_null()).then(pl.lit("")).otherwise(pl.format(" ({})", "label"))
    rows = scan_shards(log).join(known, on="id", how="left")
    width = pl.max_horizontal(pl.lit(1.0), pl.col("step").max() / POINTS)
    rows = rows.with_columns(name=pl.concat_str("source", label), part=((pl.col("step") - 1) / width).floor())
    sums = rows.group_by("name", "part").agg(pl.col("step").mean(), pl.col("loss_sum", "num_tokens").sum())
    curves: Curves = {}
    for name, _, step, loss, tokens in sums.filter(pl.col("num_tokens") > 0).sort("name", "part").collect().iter_rows():
        curves.setdefault(name, []).append((step, loss / tokens))
    return curves


def figure_of(curves: dict[str, Curves]) -> Figure:
    """One panel for each finetuning, with one line for each source."""
    titles = [f"loss while training {name}, nats an answer token" for name in curves]
    layout = {"height": 360 * len(curves), "plot_bgcolor": "white", "font": {"color": INK}}
    figure = panels(titles, layout, 0.3 / max(1, len(curves)))
    names = sorted({name for own in curves.values() for name in own})
    colours = {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(names)}
    shown: set[str] = set()
    for panel, own in enumerate(curves.values(), 1):
        for name, points in own.items():
            line = {"color": colours[name], "width": 2}
            about = {"name": safe_name(name), "legendgroup": name, "showlegend": name not in shown, "line": line}
            x, y = zip(*points)
            figure.add(panel, x=list(x), y=list(y), mode="lines", **about)
            shown.add(name)
    figure.axes("x", "optimizer step", gridcolor=GRID, automargin=True)
    figure.axes("y", rangemode="tozero", gridcolor=GRID, automargin=True)
    return figure
