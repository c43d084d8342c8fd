"""The report's charts as figures of plotly.js, from plain tables. Names from the data are escaped for its markup."""

import html
import math
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl

from forgetfilter.errors import plain_label
from forgetfilter.report.figures import Figure, Trace
from forgetfilter.storage.formats import Line, Measured, Models
from forgetfilter.storage.results import MODELS

# Okabe and Ito's palette, which people with any colour blindness can tell apart; its yellow is too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#6A5ACD")
GREY = "#8A8F98"
INK, GRID, PAPER, BLUE = "#1F2933", "#E4E7EB", "#FFFFFF", PALETTE[0]  # a dark page replaces them by its own colours
MODEL_COLOURS = dict(zip(MODELS, (GREY, "#D55E00", "#56B4E9", BLUE)))
LABEL_COLOURS = {"unsafe": "#D55E00", "safe": "#009E73", "task": BLUE}
MAP_POINTS = 4_000  # each is an element of the page: more of them make it slow
KEPT_SHARE = 0.25  # the least share of points that are kept rows: a map of dropped rows alone shows no boundary
FLOOR_NATS = 1e-4  # a log axis has no 0
BINS = 30
OTHER = "other sources"
Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


def forgetting_map(decisions: pl.DataFrame, threshold: Line | None, seed: int) -> Figure:
    """The loss after (y) against the loss before (x), in nats a token on log axes.

    The colour of a point tells its source, the symbol its decision. `decisions` are those of all rows, so that a source
    has the same colour in every chart of the page; at most MAP_POINTS are drawn. `threshold` holds the points of the
    threshold's line as {"before", "after"}, as summary.json has them, or is None where there is no line.
    """
    colours = source_colours(decisions)
    rows = grouped_sources(sample(drawable(decisions), MAP_POINTS, seed), colours)
    figure = Figure(base_layout(560))
    low, high = _limits(rows)
    for name, x, y, dash in _guides(threshold, low, high):
        line = {"color": INK, "dash": dash, "width": 1.3}
        figure.add(x=x, y=y, mode="lines", line=line, name=name, hoverinfo="skip")
    for dropped in (False, True):  # the dropped ones lie on top
        for source, colour in colours.items():
            points = rows.filter((pl.col("source") == source) & (pl.col("drop") == dropped))
            if len(points):
                figure.add(**_points(points, source, colour, dropped))
    for source, colour in colours.items():
        if source in rows["source"]:
            figure.add(**_legend_entry(safe_name(source), colour, "circle"))
    figure.add(**_legend_entry("kept", GREY, "circle-open"))
    figure.add(**_legend_entry("dropped", GREY, "x"))
    edges = [math.log10(low), math.log10(high)]
    axis = {"type": "log", "range": edges, "tickformat": ".3~g"} | axis_style()  # plotly itself writes 0.2 as a small 2
    figure.axes("x", "loss before (nats a token)", **axis)
    figure.axes("y", "loss after (nats a token)", **axis)
    return figure


def drawable(decisions: pl.DataFrame) -> pl.DataFrame:
    """The rows with both losses, raised to what a log axis can show."""
    losses = ("before_loss", "after_loss")
    known = decisions.filter(pl.all_horizontal(pl.col(c).is_finite().fill_null(False) for c in losses))
    return known.with_columns(pl.col(c).clip(FLOOR_NATS) for c in losses)


def sample(rows: pl.DataFrame, size: int, seed: int) -> pl.DataFrame:
    """At most `size` rows: a seeded sample of the dropped and one of the kept, which is KEPT_SHARE of it or more."""
    if len(rows) <= size:
        return rows
    dropped, kept = rows.filter(pl.col("drop")), rows.filter(~pl.col("drop"))
    num_kept = min(len(kept), max(size - len(dropped), math.ceil(KEPT_SHARE * size)))
    return pl.concat([dropped.sample(size - num_kept, seed=seed), kept.sample(num_kept, seed=seed)])


def distribution(rows: pl.DataFrame, column: str, axis: str, threshold: float | None) -> Figure:
    """The distribution of the score within each value of `column` (source or label): shares of its rows in equal bins.

    `rows` are all rows, as for the map. The bins span the central 99% of all scores; scores outside are counted in the
    outermost bins.
    """
    colours = source_colours(rows) if column == "source" else LABEL_COLOURS
    rows = rows.filter(pl.col("score").is_finite().fill_null(False)).drop_nulls(column)
    rows = grouped_sources(rows, colours) if column == "source" else rows
    figure = Figure(base_layout(360))
    edges = bin_edges(rows["score"])
    for name, colour in colours.items():
        scores = rows.filter(pl.col(column) == name)["score"].to_numpy()
        if not len(scores):
            continue
        counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
        share = counts / len(scores)
        hover = f"{safe_name(name)}: %{{y:.1%}} near %{{x:.3g}}<extra></extra>"
        line = {"color": colour, "width": 2, "shape": "hvh"}
        middle = (edges[1:] + edges[:-1]) / 2
        label = f"{safe_name(name)} ({len(scores):,})"
        x, y = middle.tolist(), share.tolist()
        figure.add(x=x, y=y, mode="lines", line=line, name=label, hovertemplate=hover)
    if threshold is not None:
        dash = {"color": INK, "dash": "dash", "width": 1.3}
        place = float(np.clip(threshold, edges[0], edges[-1]))
        ends = {"x0": place, "x1": place, "y0": 0, "y1": 1, "xref": "x", "yref": "y domain"}
        figure.layout["shapes"] = [{"type": "line", "line": dash} | ends]
        figure.add(x=[None], y=[None], mode="lines", line=dash, name="threshold: rows to its right are dropped")
    figure.axes("x", axis, zeroline=False, **axis_style())
    figure.axes("y", f"share of the {column}'s rows", tickformat=".0%", rangemode="tozero", **axis_style())
    return figure


def bin_edges(scores: pl.Series) -> np.ndarray:
    """BINS + 1 edges over the central 99% of the scores."""
    if not len(scores):
        return np.linspace(0.0, 1.0, BINS + 1)
    low, high = (float(np.quantile(scores.to_numpy(), q)) for q in (0.005, 0.995))
    return np.linspace(low, high, BINS + 1) if high > low else np.linspace(low - 0.5, low + 0.5, BINS + 1)


def metric_bars(metrics: dict[str, Models]) -> Figure:
    """A group of bars with intervals for each metric of one suite, {METRIC: {MODEL: {"value", "low", "high"}}}."""
    figure = Figure(base_layout(340))
    labels = [metric_label(metric, "<br>") for metric in metrics]
    for model in MODELS:
        measured = [models.get(model) for models in metrics.values()]
        values = [one["value"] if one else None for one in measured]
        if not any(value is not None for value in values):
            continue
        error = {"type": "data", "symmetric": False, "color": INK, "thickness": 1.2, "width": 3}
        error |= {"array": [_reach(one, "high") for one in measured]}
        error |= {"arrayminus": [_reach(one, "low") for one in measured]}
        hover = f"{model}: %{{y:.3f}}<extra></extra>"
        colour = MODEL_COLOURS[model]
        about: Trace = {"name": model, "marker": {"color": colour}, "error_y": error, "hovertemplate": hover}
        figure.add(type="bar", x=labels, y=values, **about)
    figure.layout |= {"barmode": "group", "bargap": 0.3, "bargroupgap": 0.08}
    middle, half = (len(labels) - 1) / 2, max(len(labels), 2) / 2  # one group alone is not drawn across the page
    figure.axes("x", tickangle=0, range=[middle - half, middle + half], **axis_style() | {"showgrid": False})
    figure.axes("y", zeroline=True, zerolinecolor=INK, zerolinewidth=1, **axis_style())
    return figure


def curves(rows: pl.DataFrame, x: str, ys: dict[str, str], title: str) -> Figure:
    """The columns `ys` of a table, {COLUMN: NAME}, as lines over its column `x`. Hovering shows the whole row."""
    figure = Figure(base_layout(460) | {"hovermode": "x unified"})
    for (column, name), colour in zip(ys.items(), PALETTE):
        values: Trace = {"x": rows[x].to_list(), "y": rows[column].to_list()}
        figure.add(mode="lines+markers", name=name, line={"color": colour}, **values)
    figure.axes("x", title, **axis_style())
    figure.axes("y", **axis_style())
    return figure


def metric_label(metric: str, space: str) -> str:
    """A metric's name in HTML with `space` between its words, such as `accuracy ambiguous`."""
    return space.join(html.escape(part, quote=False) for part in plain_label(metric, 60).split("_"))


def source_colours(decisions: pl.DataFrame) -> dict[str, str]:
    """A colour for each source, the most frequent first. Sources beyond the palette share OTHER, grey and last."""
    return colours_of(decisions["source"].value_counts(sort=False))


def colours_of(counts: pl.DataFrame) -> dict[str, str]:
    """As `source_colours`, from the columns `source` and `count`."""
    counts = counts.sort(["count", "source"], descending=[True, False])
    colours = dict(zip(counts["source"], PALETTE))
    return colours | ({OTHER: GREY} if len(colours) < len(counts) else {})


def safe_name(name: str) -> str:
    """A name from the data with plotly's markup and entities escaped."""
    return html.escape(plain_label(name, 28), quote=False)  # plotly decodes no quotes


def grouped_sources(rows: Frame, colours: dict[str, str]) -> Frame:
    """The rows with every source that has no colour of its own renamed OTHER."""
    named = pl.col("source").is_in(list(colours))
    return rows.with_columns(source=pl.when(named).then("source").otherwise(pl.lit(OTHER)))


def _limits(rows: pl.DataFrame) -> tuple[float, float]:
    """One range with a margin for both axes, so that the diagonal means no change."""
    if not len(rows):
        return 0.01, 10.0
    losses = np.concatenate([rows["before_loss"].to_numpy(), rows["after_loss"].to_numpy()])
    return float(losses.min()) / 1.4, float(losses.max()) * 1.4


def _guides(threshold: Line | None, low: float, high: float) -> list[tuple[str, Any, Any, str]]:
    """The lines of the map: no change, and the threshold where there is one."""
    lines: list[tuple[str, Any, Any, str]] = [("no change", [low, high], [low, high], "dot")]
    if threshold:
        lines.append(("threshold: rows above are dropped", threshold["before"], threshold["after"], "dash"))
    return lines


def _points(points: pl.DataFrame, source: str, colour: str, dropped: bool) -> Trace:
    marker = {"color": colour, "size": 8 if dropped else 7, "opacity": 0.9 if dropped else 0.75}
    verdict = "dropped" if dropped else "kept"
    hover = f"{safe_name(source)}, {verdict}<br>before %{{x:.4g}}, after %{{y:.4g}}<br>score %{{customdata[0]:.4g}}"
    details = list(zip(points["score"].round(6), points["id"].str.slice(0, 12)))
    return {
        "x": points["before_loss"].round(6).to_list(),
        "y": points["after_loss"].round(6).to_list(),
        "customdata": details,
        "mode": "markers",
        "marker": marker | {"symbol": "x-thin" if dropped else "circle-open", "line": {"width": 1.6, "color": colour}},
        "legendgroup": safe_name(source),
        "showlegend": False,
        "hovertemplate": hover + "<br>id %{customdata[1]}<extra></extra>",
    }


def _legend_entry(name: str, colour: str, symbol: str) -> Trace:
    """A line of the legend without points of its own. Clicking on a source's line hides or shows its points."""
    marker = {"color": colour, "symbol": symbol, "size": 9}
    return {"x": [None], "y": [None], "mode": "markers", "marker": marker, "name": name, "legendgroup": name}


def _reach(measured: Measured | None, end: Literal["low", "high"]) -> float | None:
    """How far the interval reaches from the value; None without one."""
    if not measured or (value := measured["value"]) is None or (reached := measured[end]) is None:
        return None
    return abs(reached - value)


def axis_style() -> dict[str, Any]:
    return {"gridcolor": GRID, "linecolor": "#9AA5B1", "automargin": True, "ticks": "outside"}


def base_layout(height: int) -> dict[str, Any]:
    font = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": INK}
    return {
        "height": height,
        "font": font,
        "margin": {"l": 56, "r": 16, "t": 28, "b": 48},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        "hovermode": "closest",
    }
