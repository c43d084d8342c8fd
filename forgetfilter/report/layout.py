"""The layout of every page: its colours by day and by night, its widths down to a phone's, print, and no network.

base.html.j2 is the layout. page.html.j2 is the report of a run, and document.html.j2 any page of headings, figures and
tables. plotly/ has plotly.js 4.1.1 in its basic bundle (MIT), unchanged: it draws lines, points and bars as SVG, and is
a quarter of the whole.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2

from forgetfilter.errors import plain_label
from forgetfilter.report.charts import BLUE, GRID, INK, PAPER
from forgetfilter.report.figures import Figure
from forgetfilter.report.sentences import number, visible, words

COLOURS = {"ink": INK, "grid": GRID, "paper": PAPER, "blue": BLUE}  # of figures, for which a page has its own


@dataclass(frozen=True)
class Section:
    """A part of a document: its heading, and a figure or a table."""

    heading: str = ""
    figure: Figure | None = None
    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()


def document(title: str, about: Sequence[str], sections: Sequence[Section]) -> str:
    """A whole page: its title, sentences about it, and sections below one another. No text is read as markup."""
    figures = {f"figure-{place}": one.figure for place, one in enumerate(sections, 1) if one.figure}
    return rendered("document.html.j2", figures, title=title, about=about, sections=sections)


def rendered(template: str, figures: Mapping[str, Figure], **values: Any) -> str:
    """A whole page of a template, with each figure in the element that has its name as id."""
    drawn = script_json({name: figure.json() for name, figure in figures.items()})
    source = (files("forgetfilter.report") / "plotly" / "plotly-basic.min.js").read_text(encoding="utf-8")
    page = environment().get_template(template)
    return page.render(figures=list(figures), figures_json=drawn, plotly_js=source, **COLOURS, **values)


def script_json(value: Any) -> str:
    """JSON for the inside of a script element: nothing in it can end the element or open a comment."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e")


def environment() -> jinja2.Environment:
    """The environment of the templates, which escapes every value."""
    loader = jinja2.PackageLoader("forgetfilter.report", "")
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"label": plain_label, "number": number, "words": words}
    made.filters["json"] = lambda value: visible(json.dumps(value, indent=2, ensure_ascii=False))
    return made
