"""A table of results for the terminal, Markdown, LaTeX and W&B, with the same cells escaped for each.

Names come from files and may hold anything. Control, escape and direction characters are shown as U+FFFD, so that no
text can recolour a terminal, end a row or start a command.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from forgetfilter.errors import plain_label
from forgetfilter.files import write_text

LONGEST = 80  # the most characters of a cell
NARROW = 8  # the least width of a name's column in characters
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{c: f"\\{c}" for c in "\\`*_|[]~$"}}


@dataclass(frozen=True)
class Sheet:
    """A table whose cells are texts."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    names: int
    """How many of the first columns are names; the others are numbers."""
    note: str = ""


def terminal(sheet: Sheet) -> Table:
    """The table for rich, which reads no markup in it. Cells beyond the names may have several lines."""
    title, note = Text(plain_label(sheet.title, LONGEST)), Text(sheet.note) if sheet.note else None
    table = Table(title=title, caption=note, box=SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.caption_justify = "left"
    for index, column in enumerate(sheet.columns):  # in a narrow terminal names are folded and numbers stay whole
        if index < sheet.names:
            table.add_column(Text(column), overflow="fold", min_width=NARROW)
        else:
            cells = [column, *(_lines(row[index]) for row in sheet.rows)]
            least = max(len(word) for cell in cells for word in cell.split() or [""])
            table.add_column(Text(column), overflow="fold", justify="right", min_width=least)
    for row in sheet.rows:
        names = [plain_label(cell, LONGEST) for cell in row[: sheet.names]]
        table.add_row(*map(Text, names), *(Text(_lines(cell)) for cell in row[sheet.names :]))
    return table


def _lines(cell: str) -> str:
    return "\n".join(plain_label(line, LONGEST) for line in cell.split("\n"))


def markdown(sheet: Sheet) -> str:
    """The table in GitHub's Markdown, under its title."""
    rule = ["---" if index < sheet.names else "---:" for index in range(len(sheet.columns))]
    rows = [map(_markdown, sheet.columns), rule, *(map(_markdown, row) for row in sheet.rows)]
    lines = [f"**{_markdown(sheet.title)}**", "", *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join([*lines, *(["", _markdown(sheet.note, 1000)] if sheet.note else [])]) + "\n"


def latex(sheet: Sheet) -> str:
    r"""The table with the rules of booktabs, for any engine: every character beyond Latin-1 becomes `?`."""
    shape = "l" * sheet.names + "r" * (len(sheet.columns) - sheet.names)
    rows = [" & ".join(map(_latex, row)) + r" \\" for row in sheet.rows]
    head = " & ".join(map(_latex, sheet.columns)) + r" \\"
    caption = " ".join(part for part in (_latex(sheet.title) + ".", _latex(sheet.note, 1000)) if part)
    lines = [
        "% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{{shape}}}",
        r"\toprule",
        head,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def write(sheet: Sheet, folder: Path, name: str) -> None:
    """Writes folder/NAME.md and folder/NAME.tex."""
    write_text(folder / f"{name}.md", markdown(sheet))
    write_text(folder / f"{name}.tex", latex(sheet))


def metrics_sheet(title: str, measured: Mapping[tuple[str, str], Mapping[str, Mapping[str, Any]]]) -> Sheet:
    """A table with one row for each metric, from {(suite, model): {METRIC: its entry in metrics.json}}.

    No value stands without its interval and counts.
    """
    rows = [
        (suite, name, model, *interval(entry), str(entry["n"]), str(entry["missing"]))
        for (suite, model), metrics in measured.items()
        for name, entry in metrics.items()
    ]
    return Sheet(title, ("suite", "metric", "model", "value", "95% interval", "n", "missing"), rows, 3)


def interval(entry: Mapping[str, Any]) -> tuple[str, str]:
    """The cells `value` and `low to high`; dashes where nothing was scored."""
    if entry["value"] is None:
        return "-", "-"
    ends = "not known" if entry["low"] is None else f"{entry['low']:.3f} to {entry['high']:.3f}"
    return f"{entry['value']:.3f}", ends


def _markdown(text: str, limit: int = LONGEST) -> str:
    return "".join(_MARKDOWN.get(character, character) for character in plain_label(text, limit))


def _latex(text: str, limit: int = LONGEST) -> str:
    plain = (c if ord(c) < 256 else "?" for c in plain_label(text, limit).replace("…", "..."))
    return "".join(_LATEX.get(character, character) for character in plain)
