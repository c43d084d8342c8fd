"""Figures as plain JSON for plotly.js, and a whole page that holds some.

plotly/ has plotly.js 4.1.1 in its basic bundle (MIT), unchanged: it draws lines, points and bars as SVG, and is a
quarter of the whole. The page that holds a figure works without a network.
"""

import html
import json
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from forgetfilter.files import finite

Trace = dict[str, Any]


@dataclass
class Figure:
    """Traces and a layout, as plotly.js takes them."""

    layout: dict[str, Any]
    data: list[Trace] = field(default_factory=list)

    def add(self, panel: int = 1, **trace: Any) -> None:
        """A trace, which is a scatter unless `type` says otherwise, in a panel, counted from 1."""
        own = {} if panel == 1 else {"xaxis": f"x{panel}", "yaxis": f"y{panel}"}
        self.data.append({"type": "scatter"} | own | trace)

    def axes(self, letter: str, title: str = "", **axis: Any) -> None:
        """Settings for every x axis or every y axis."""
        named = {"title": {"text": title, "standoff": 12}} if title else {}
        for key in [key for key in self.layout if key.startswith(f"{letter}axis")] or [f"{letter}axis"]:
            self.layout[key] = self.layout.get(key, {}) | named | axis

    def json(self) -> dict[str, Any]:
        """The figure as a JSON value. What is no finite number becomes null, which leaves a gap."""
        made: dict[str, Any] = finite({"data": self.data, "layout": self.layout})
        return made


def panels(titles: list[str], layout: dict[str, Any], gap: float) -> Figure:
    """A figure of panels below one another, each with its title; `gap` is the share of the height between two."""
    height = (1 - gap * (len(titles) - 1)) / max(1, len(titles))
    figure, notes = Figure(layout), []
    for number, title in enumerate(titles, 1):
        top = 1 - (number - 1) * (height + gap)
        name = "" if number == 1 else str(number)
        figure.layout[f"xaxis{name}"] = {"anchor": f"y{name}"}
        figure.layout[f"yaxis{name}"] = {"anchor": f"x{name}", "domain": [max(0, top - height), top]}
        place = {"xref": "paper", "yref": "paper", "x": 0.5, "y": top, "xanchor": "center", "yanchor": "bottom"}
        notes.append({"text": title, "showarrow": False, "font": {"size": 13}} | place)
    figure.layout["annotations"] = notes
    return figure


def bundle() -> str:
    """The source of plotly.js, for the inside of a script element."""
    return (files("forgetfilter.report") / "plotly" / "plotly-basic.min.js").read_text(encoding="utf-8")


def script_json(value: Any) -> str:
    """JSON for the inside of a script element: nothing in it can end the element or open a comment."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e")


def document(title: str, parts: list[str | Figure], ink: str) -> str:
    """A whole page of parts below one another: HTML, which is taken as it is, and figures."""
    named = {f"figure-{number}": part.json() for number, part in enumerate(parts) if isinstance(part, Figure)}
    body = "".join(
        part
        if isinstance(part, str)
        else f'<div id="figure-{number}" role="img" aria-label="{html.escape(title)}"></div>'
        for number, part in enumerate(parts)
    )
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    options = '{responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: ""}'
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{html.escape(title)}</title></head>'
        f'<body style="font-family: system-ui, sans-serif; color: {ink}">{body}<script>{bundle()}</script><script>'
        f"for (const [name, one] of Object.entries({script_json(named)}))"
        f" Plotly.newPlot(name, one.data, one.layout, {options});</script></body></html>\n"
    )
