"""Figures as plain JSON for plotly.js."""

from dataclasses import dataclass, field
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
