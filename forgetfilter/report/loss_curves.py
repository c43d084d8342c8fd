"""The loss of each source over the steps of the two finetunings, read from the loss logs without a model.

Where the run's data has labels, a source is split by label, so that its unsafe rows are seen apart from its good ones.
"""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import polars as pl

from forgetfilter.report.charts import PALETTE, axis_style, base_layout, colours_of, grouped_sources, safe_name
from forgetfilter.report.figures import Figure, panels
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import scan_shards, shard_paths

POINTS = 40  # the most points of a curve
Curves = dict[str, list[tuple[float, float]]]


def loss_curves(folder: Path, split: Sequence[str] = ("source", "label")) -> dict[str, Curves]:
    """The curves of noisy and safe, where they were logged: {SOURCE or SOURCE (LABEL): [(step, nats a token)]}.

    `split` names what tells the curves apart: the source, the label (a row without one has no curve then), or both.
    """
    paths = RunPaths(folder)
    data = {"noisy": paths.noisy_data, "safe": paths.safe_data}
    found = {name: _curves(log, data[name], split) for name, log in logged(folder).items()}
    return {name: curves for name, curves in found.items() if curves}


def logged(folder: Path) -> dict[str, Path]:
    """The loss logs of noisy and safe that are there."""
    logs = {name: RunPaths(folder).model(name) / "losses" for name in ("noisy", "safe")}
    return {name: log for name, log in logs.items() if (log / "manifest.json").exists() and shard_paths(log)}


def _curves(log: Path, data: Path, split: Sequence[str]) -> Curves:
    """The mean loss of the tokens of each group in each of POINTS equal parts of the steps, at the mean step."""
    rows = _named(scan_shards(log), data, split)
    width = pl.max_horizontal(pl.lit(1.0), pl.col("step").max() / POINTS)
    rows = rows.with_columns(part=((pl.col("step") - 1) / width).floor())
    sums = rows.group_by("name", "part").agg(pl.col("step").mean(), pl.col("loss_sum", "num_tokens").sum())
    curves: Curves = {}
    known = sums.filter(pl.col("num_tokens") > 0).sort("name", "part").collect(engine="streaming")
    for name, _, step, loss, tokens in known.iter_rows():
        curves.setdefault(name, []).append((step, loss / tokens))
    return curves


def _named(rows: pl.LazyFrame, data: Path, split: Sequence[str]) -> pl.LazyFrame:
    """The rows with `name`: their group. Sources beyond the palette are one group, as in the other charts."""
    if tuple(split) == ("source",):
        colours = colours_of(rows.group_by("source").agg(count=pl.len()).collect(engine="streaming"))
        return grouped_sources(rows, colours).with_columns(name="source")
    rows = rows.join(_labels(data), on="id", how="left")
    if tuple(split) == ("label",):
        return rows.filter(pl.col("label").is_not_null()).with_columns(name="label")
    label = pl.when(pl.col("label").is_null()).then(pl.lit("")).otherwise(pl.format(" ({})", "label"))
    return rows.with_columns(name=pl.concat_str("source", label))


def _labels(data: Path) -> pl.LazyFrame:
    """`id` and `label` of the records, none where the data was cleared away."""
    schema = {"id": pl.String, "label": pl.String}
    return pl.scan_ndjson(glob.escape(str(data)), schema=schema) if data.exists() else pl.LazyFrame(schema=schema)


def figure_of(curves: dict[str, Curves], colours: Mapping[str, str] = MappingProxyType({})) -> Figure:
    """One panel for each finetuning, with one line for each group, whose colour may be given."""
    titles = [f"loss while training {name}, nats an answer token" for name in curves]
    figure = panels(titles, base_layout(300 * len(curves)), 0.3 / max(1, len(curves)))
    free = [colour for colour in PALETTE if colour not in colours.values()] or list(PALETTE)
    names = sorted({name for own in curves.values() for name in own})
    others = [name for name in names if name not in colours]
    drawn = {name: free[number % len(free)] for number, name in enumerate(others)} | dict(colours)
    shown: set[str] = set()
    for panel, own in enumerate(curves.values(), 1):
        for name, points in own.items():
            line = {"color": drawn[name], "width": 2}
            about = {"name": safe_name(name), "legendgroup": name, "showlegend": name not in shown, "line": line}
            x, y = zip(*points)
            figure.add(panel, x=list(x), y=list(y), mode="lines", **about)
            shown.add(name)
    figure.axes("x", "optimizer step", **axis_style())
    figure.axes("y", rangemode="tozero", **axis_style())
    return figure
