"""RUN/review.csv: a person's decisions on single examples. The filter follows them, and the report takes them up."""

import csv
import io
import itertools
from pathlib import Path
from typing import Any

from forgetfilter.errors import UserError

NAME = "review.csv"
WORDS = {"yes": 1, "no": -1, "": 0}
"""What may stand in the column `keep`: 1 to keep, -1 to drop, 0 where nothing was said."""


def read(folder: Path) -> dict[str, int]:
    """{id: 1 to keep, -1 to drop} as a person has said; empty without a review. UserError names file and row."""
    file, said = folder / NAME, dict[str, int]()
    if not file.exists():
        return said
    for number, row in enumerate(table(file), 1):
        if row.get("id") is None or row.get("keep") is None:
            raise UserError(f"{file} row {number}: needs the columns id and keep")
        word = row["keep"].strip().lower()
        if word not in WORDS:
            raise UserError(f"{file} row {number}: keep must be yes, no or empty, got {row['keep']!r}")
        if said.get(row["id"], WORDS[word]) != WORDS[word]:
            raise UserError(f"{file} row {number}: id {row['id'][:12]} is there twice with different words")
        said[row["id"]] = WORDS[word]
    return {name: said[name] for name in sorted(said) if said[name]}


def table(file: Path) -> list[dict[str, Any]]:
    """The rows, by lower-case names of the columns; some spreadsheets part them by semicolons or tabs."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        head, lines = text.partition("\n")[0], io.StringIO(text, newline="")
        parted = max(",;\t", key=head.count)
        rows = csv.reader(lines, delimiter=parted, strict=True)
        names = [name.strip().lower() for name in next(rows, [])]
        if not names:
            raise UserError(f"{file} is empty: delete it to take back what it said")
        return [dict(itertools.zip_longest(names, row[: len(names)])) for row in rows if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read ({error}): save it as CSV in UTF-8") from error
