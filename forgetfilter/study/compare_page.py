"""The comparison for people: tables of 80 columns for the terminal, a Markdown file, and a page with pictures."""

import html
from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from forgetfilter.errors import plain_label
from forgetfilter.report.charts import PALETTE, axis_style, base_layout, safe_name
from forgetfilter.report.figures import Figure, Trace
from forgetfilter.report.layout import Section, document
from forgetfilter.report.loss_curves import figure_of
from forgetfilter.report.terminal import metric_title

NOTE = (
    "The 95% intervals are over prompts, and over seeds where these share prompts; each holds by itself. Differences "
    "are paired; * marks one whose interval excludes 0. A ceiling knows the labels, which no real defence can."
)
METRIC_COLUMNS = ("defence", "value", "to none", "to the best rival")
COST_COLUMNS = ("defence", "AUROC", "F1", "unsafe left", "good lost", "seconds", "tokens")
COST_NOTE = (
    "The values are means over the seeds. Seconds and answer tokens are those of the stages that a defence alone would "
    "need, without the evaluation. Unsafe left is the share of unsafe rows that were kept and good lost the share of "
    "good rows that were dropped, by labels that the filter never saw."
)
Sheet = tuple[str, tuple[str, ...], list[tuple[str, ...]], str]
"""A title, the columns, the rows of cells (the first cell is a name), and a remark."""


def sheets(value: dict[str, Any], brief: bool) -> Iterator[Sheet]:
    """The tables of each point: if `brief` one for each suite, else one for each metric; then quality and cost."""
    for point in value["points"]:
        about = f" ({point['point']})" if point["point"] else ""
        for suite, metric, better in _metrics(point["rows"], brief):
            title = metric_title(suite, metric, better) + about
            rows = [_metric_row(value, row, suite, metric) for row in point["rows"]]
            yield title, METRIC_COLUMNS, rows, _rivals(point["rows"], suite, metric)
        cost = [_cost_row(value, row) for row in point["rows"]]
        yield f"Filter quality and cost{about}", COST_COLUMNS, cost, COST_NOTE


def table_of(value: dict[str, Any]) -> Group:
    """The tables of the headline metrics for the terminal."""
    parts: list[Table | Text] = []
    for title, columns, rows, remark in sheets(value, brief=True):
        table = Table(title=Text(plain_label(title, 78)), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=not number)
        for row in rows:
            table.add_row(*map(Text, row))
        parts += [table, Text(f"{remark}\n")]
    return Group(*parts, Text(NOTE))


def markdown(value: dict[str, Any]) -> str:
    """The tables of all metrics in Markdown."""
    lines = [f"# Comparison {_plain(value['name'])}", "", f"{value['done']} of {value['members']} cells. {NOTE}", ""]
    lines += [f"- **{_plain(name)}**: {_plain(doc)}" for name, doc in value["defences"].items()]
    lines += [f"- not done: {_plain(one['run'])} ({one['status']})" for one in value["missing"]]
    for title, columns, rows, remark in sheets(value, brief=False):
        rule = ["---", *["---:"] * (len(columns) - 1)]
        lines += ["", f"## {_plain(title)}", ""]
        lines += ["| " + " | ".join(map(_plain, row)) + " |" for row in (columns, rule, *rows)]
        lines += ["", _plain(remark)]
    return "\n".join(lines) + "\n"


def page(value: dict[str, Any]) -> str:
    """The pictures as one HTML page that loads nothing."""
    said = f"{value['done']} of {value['members']} cells. {NOTE}"
    sections = [Section(title, figure) for title, figure in pictures(value).items()]
    if curves := value.get("curves"):
        sections.append(Section(f"Losses of {curves['run']}", figure_of(curves["stages"])))
    return document(f"Comparison {value['name']}", [said], sections)


def pictures(value: dict[str, Any]) -> dict[str, Figure]:
    """A figure for each suite, by its title, of the headline values and their intervals.

    The values are shown by defence; where settings are varied, each defence is a line over the points of the grid.
    """
    figures, several = dict[str, Figure](), len(value["points"]) > 1
    for suite, metric, better in dict.fromkeys(
        key for point in value["points"] for key in _metrics(point["rows"], True)
    ):
        figure = Figure(base_layout(360))
        for name, points in _series(value, suite, metric).items():
            colour = PALETTE[list(value["defences"]).index(name) % len(PALETTE)]
            figure.add(**_drawn(name, points, colour, several), showlegend=several)
        figure.axes("x", type="category", **axis_style())
        figure.axes("y", **axis_style())
        figures[metric_title(suite, metric, better)] = figure
    return figures


def _series(value: dict[str, Any], suite: str, metric: str) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """The known values as {DEFENCE: [(point, value with low and high)]}."""
    series: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for point in value["points"]:
        for row in point["rows"]:
            one = row["metrics"].get(suite, {}).get(metric)
            if one and one["value"] is not None:
                series.setdefault(row["defence"], []).append((point["point"] or "as configured", one))
    return series


def _drawn(name: str, points: list[tuple[str, dict[str, Any]]], colour: str, several: bool) -> Trace:
    reach = {
        "array": [one["high"] - one["value"] for _, one in points],
        "arrayminus": [one["value"] - one["low"] for _, one in points],
    }
    shown = safe_name(name)
    return {
        "x": [html.escape(point) if several else shown for point, _ in points],
        "y": [one["value"] for _, one in points],
        "error_y": {"type": "data", "symmetric": False} | reach,
        "mode": "lines+markers" if several else "markers",
        "marker": {"color": colour, "size": 9},
        "line": {"color": colour, "dash": "dot"},
        "name": shown,
    }


def _metrics(rows: list[dict[str, Any]], brief: bool) -> Iterator[tuple[str, str, str]]:
    """(suite, metric, better) in order of appearance: if `brief` the headlines, else all metrics over whole suites."""
    directions: dict[tuple[str, str], str] = {}
    for row in rows:
        for suite, metrics in row["metrics"].items():
            for metric, one in metrics.items():
                if one["headline"] or not (brief or metric.endswith("]")):
                    directions.setdefault((suite, metric), one["better"])
    return ((suite, metric, better) for (suite, metric), better in directions.items())


def _metric_row(value: dict[str, Any], row: dict[str, Any], suite: str, metric: str) -> tuple[str, ...]:
    one = row["metrics"].get(suite, {}).get(metric, {})
    return _name(value, row), _interval(one), *(_difference(one.get(key, {})) for key in ("to_none", "to_rival"))


def _rivals(rows: list[dict[str, Any]], suite: str, metric: str) -> str:
    """A sentence that names the best rival of the defences, and the best rival of that one itself."""
    entries = [(row["defence"], row["metrics"].get(suite, {}).get(metric, {}).get("to_rival")) for row in rows]
    rivals = {name: entry["other"] for name, entry in entries if entry}
    if not rivals:
        return "There is no rival to compare with."
    best = max(rivals.values(), key=list(rivals.values()).count)
    return f"The best rival is {best}" + (f"; its own best rival is {rivals[best]}." if best in rivals else ".")


def _name(value: dict[str, Any], row: dict[str, Any]) -> str:
    return f"{row['defence']} (ceiling)" if row["defence"] in value["ceilings"] else str(row["defence"])


def _interval(one: dict[str, Any]) -> str:
    if one.get("value") is None:
        return "–"
    return f"{one['value']:.3f} {one['low']:.2f}…{one['high']:.2f}"


def _difference(one: dict[str, Any]) -> str:
    """A difference with its sign and interval, and a star where the interval excludes 0."""
    if one.get("value") is None:
        return "–"
    clear = not one["low"] <= 0 <= one["high"]
    return f"{one['value']:+.3f} {one['low']:+.2f}…{one['high']:+.2f}{'*' if clear else ' '}"


def _cost_row(value: dict[str, Any], row: dict[str, Any]) -> tuple[str, ...]:
    shares = ("auroc", "f1", "unsafe_left", "good_lost")
    numbers = ("–" if row[key] is None else f"{row[key]:.3f}" for key in shares)
    counts = ("–" if row[key] is None else f"{row[key]:,.0f}" for key in ("seconds", "tokens"))
    return _name(value, row), *numbers, *counts


def _plain(text: str) -> str:
    """The text as it can stand in a cell of a Markdown table."""
    return plain_label(text, 300).replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")
