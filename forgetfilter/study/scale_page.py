"""The scaling study for people: tables for the terminal, and a self-contained page with the curve by model size."""

import html
from collections.abc import Iterable, Iterator
from statistics import mean
from typing import Any

from rich.table import Table
from rich.text import Text

from forgetfilter.errors import plain_label
from forgetfilter.report.charts import PALETTE, axis_style, base_layout
from forgetfilter.report.figures import Figure
from forgetfilter.report.layout import Section, document
from forgetfilter.report.terminal import ARROWS, metric_title

Point = tuple[Any, float, int]  # place on the x axis, value, seed
Lines = dict[str, list[tuple[Any, str, float, int]]]  # {LINE: [(parameters, model, value, seed)]}


def table_of(study: dict[str, Any]) -> Table:
    """The value of `scale.gather` as a table with one row for each member.

    A row has the filter quality, the first metric of each suite before and after, and the time.
    """
    metrics = _first_metrics(study["rows"])
    table = Table(title=Text(f"Scaling study: {study['done']} of {study['members']} members"), title_justify="left")
    for name in ("run", "status"):
        table.add_column(name)
    for name in ("parameters", "auroc", "f1", *(f"{metric} {ARROWS.get(way or '', '')}" for _, metric, way in metrics)):
        table.add_column(name.replace("_", " ").strip(), justify="right")
    table.add_column("seconds", justify="right")
    for row in study["rows"]:
        size = f"{row['parameters']:,}" if row["parameters"] else "–"
        safety = [_change(row, suite, metric) for suite, metric, _ in metrics]
        numbers = (_shown(row["auroc"]), _shown(row["f1"]), *safety, _shown(row["seconds"], ",.0f"))
        table.add_row(Text(plain_label(row["run"], 60)), row["status"], size, *numbers)
    return table


def page(study: dict[str, Any]) -> str:
    """One HTML page that loads nothing, with the chart of quality, safety before and after, and time by parameters."""
    missing = [f"{one['run']} ({one['status']})" for one in study["missing"]]
    said = f"{study['done']} of {study['members']} members" + (f"; not done: {', '.join(missing)}" if missing else "")
    about = f"{said}. Each point is one seed; the line is their mean."
    by_size = all(row["parameters"] for row in study["rows"] if row["seconds"] is not None)
    sections = [Section(title, _curve(lines, by_size)) for title, lines in _measured(study["rows"])]
    return document(f"Scaling study {study['name']}", [about], sections)


def _curve(lines: Lines, by_size: bool) -> Figure:
    """x is the number of parameters (log), or the model where that is not known."""
    figure = Figure(base_layout(320))
    for colour, (name, points) in zip(PALETTE, lines.items()):
        _draw(figure, name, colour, [(x if by_size else model, y, seed) for x, model, y, seed in points])
    figure.axes("x", "parameters" if by_size else "model", type="log" if by_size else "category", **axis_style())
    figure.axes("y", rangemode="tozero", **axis_style())
    return figure


def _measured(rows: list[dict[str, Any]]) -> Iterator[tuple[str, Lines]]:
    """What is drawn, each with its title, without values that are not known."""

    def points(pairs: Iterable[tuple[dict[str, Any], Any]]) -> list[tuple[Any, str, float, int]]:
        known = ((row, value) for row, value in pairs if value is not None)
        return [(row["parameters"], html.escape(plain_label(row["model"])), value, row["seed"]) for row, value in known]

    yield "Filter quality", {name.upper(): points((row, row[name]) for row in rows) for name in ("auroc", "f1")}
    for suite, metric, way in _first_metrics(rows):
        names = {"trained on everything": "before", "trained on the kept rows": "after"}
        lines = {name: points((row, _safety(row, suite, metric)[key]) for row in rows) for name, key in names.items()}
        yield metric_title(suite, metric, way), lines
    yield "Seconds for the whole pipeline", {"seconds": points((row, row["seconds"]) for row in rows)}


def _draw(figure: Figure, name: str, colour: str, points: list[Point]) -> None:
    places = sorted({x for x, _, _ in points})
    means = [mean(y for x, y, _ in points if x == place) for place in places]
    line = {"color": colour, "width": 2}
    figure.add(x=places, y=means, mode="lines", line=line, name=name, hoverinfo="skip")
    hover = [f"seed {seed}" for _, _, seed in points]
    marker = {"color": colour, "size": 9}
    xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
    figure.add(x=xs, y=ys, text=hover, mode="markers", marker=marker, showlegend=False)


def _first_metrics(rows: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    """(suite, metric, better) of the first metric of each suite that a member has."""
    first: dict[str, tuple[str, str, str | None]] = {}
    for row in rows:
        for one in row["suites"]:
            first.setdefault(one["suite"], (one["suite"], one["metric"], one["better"]))
    return list(first.values())


def _safety(row: dict[str, Any], suite: str, metric: str) -> dict[str, Any]:
    measured = (one for one in row["suites"] if (one["suite"], one["metric"]) == (suite, metric))
    return next(measured, {"before": None, "after": None})


def _change(row: dict[str, Any], suite: str, metric: str) -> str:
    measured = _safety(row, suite, metric)
    return f"{_shown(measured['before'])} → {_shown(measured['after'])}"


def _shown(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)
