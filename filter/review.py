"""A person's word on single examples: RUN/review.csv, which no stage deletes and every decision honours.

`forgetfilter filter RUN --review` writes it, most forgotten first, with an empty column `keep`. Write yes to keep an
example after all, no to drop it; then `filter` or `run` again. What was said stays when the rule changes.
"""

import csv
import io
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forgetfilter.errors import UserError
from forgetfilter.files import write_text
from forgetfilter.runs import Run

from .table import Table

FIELDS = ("keep", "rank", "score", "p_value", "source", "reason", "id", "text")
WORDS = {"yes": 1, "no": -1, "": 0}
SHOWN_CHARACTERS = 300  # of the answer


def path(run: Run) -> Path:
    return run.folder / "review.csv"


def read(run: Run) -> dict[str, int]:
    """{id: 1 keep, -1 drop} of what a person has said, empty without a review; UserError by file and row."""
    file, said = path(run), dict[str, int]()
    if not file.exists():
        return said
    for number, row in enumerate(_table(file), 1):
        if row.get("id") is None or row.get("keep") is None:
            raise UserError(f"{file} row {number}: needs the columns id and keep, parted by commas")
        word = row["keep"].strip().lower()
        if word not in WORDS:
            raise UserError(f"{file} row {number}: keep must be yes, no or empty, got {row['keep']!r}")
        if said.get(row["id"], WORDS[word]) != WORDS[word]:
            raise UserError(f"{file} row {number}: id {row['id'][:12]} is there twice with different words")
        said[row["id"]] = WORDS[word]
    return {name: said[name] for name in sorted(said) if said[name]}


def rows(table: Table, said: dict[str, int], run: Run) -> NDArray[np.int8]:
    """[n] what was said on each example, 0 for nothing; UserError for an id that the data does not have."""
    reviewed = np.zeros(table.count, dtype=np.int8)
    if said:
        scan = pl.scan_parquet(table.index).select("id").with_row_index("row")
        found = scan.filter(pl.col("id").is_in(list(said))).collect(engine="streaming")
        if len(found) < len(said):
            unknown = min(said.keys() - set(found["id"]))
            raise UserError(f"{path(run)}{_row_of(path(run), unknown)}: the data has no example {unknown[:20]!r}")
        reviewed[found["row"].to_numpy()] = [said[name] for name in found["id"]]
    return reviewed


def write(run: Run, limit: int) -> Path:
    """Writes review.csv: the `limit` most forgotten of the dropped examples, and all that were reviewed before.

    UserError where the file that is there cannot be read, or nothing was decided yet.
    """
    said, folder = read(run), run.folder / "filter"
    if not (folder / "summary.json").exists():
        raise UserError(f"{folder} has no decisions: run the filter stage first")
    found: dict[str, dict[str, Any]] = {}
    with open(folder / "dropped.jsonl", encoding="utf-8") as lines:
        for line in itertools.islice(lines, limit):
            row = json.loads(line)
            text = " ".join(row["messages"][-1]["content"].split())[:SHOWN_CHARACTERS]
            found[row["id"]] = {name: row.get(name) for name in FIELDS} | {"text": _plain(text)}
    earlier = {row["id"]: row for row in _table(path(run))} if said else {}
    decisions = pl.scan_parquet(folder / "decisions.parquet").filter(pl.col("id").is_in(list(said)))
    known = [name for name in FIELDS if name in decisions.collect_schema().names()]
    for row in decisions.select(known).collect().iter_rows(named=True):
        found.setdefault(row["id"], earlier[row["id"]] | row)
    words = {value: word for word, value in WORDS.items()}
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in sorted(found.values(), key=lambda row: row["rank"] or math.inf):
        writer.writerow(row | {"keep": words[said.get(row["id"], 0)], "source": _plain(row["source"])})
    write_text(path(run), out.getvalue())
    return path(run)


def _table(file: Path) -> list[dict[str, Any]]:
    try:
        rows = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        if not rows.fieldnames:
            raise UserError(f"{file} is empty: delete it to take back what it said")
        return list(rows)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read ({error}): save it as CSV in UTF-8") from error


def _plain(text: str) -> str:
    """Text that a spreadsheet takes for no formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def _row_of(file: Path, wanted: str) -> str:
    return next((f" row {number}" for number, row in enumerate(_table(file), 1) if row["id"] == wanted), "")
