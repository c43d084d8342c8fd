"""A person's word on single examples: RUN/review.csv, which no stage deletes and every decision honours.

`forgetfilter filter RUN --review` writes it, most forgotten first, with an empty column `keep`. Write yes to keep an
example after all, no to drop it; then `filter` or `run` again. What was said stays when the rule changes.
"""

import csv
import io
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forgetfilter.errors import UserError
from forgetfilter.files import write_text
from forgetfilter.records import Record
from forgetfilter.runs import Run

from .table import Table

FIELDS = ("keep", "rank", "score", "source", "reason", "id", "text")
WORDS = {"yes": 1, "no": -1, "": 0}
SHOWN_CHARACTERS = 300  # of the answer


def path(run: Run) -> Path:
    return run.folder / "review.csv"


def read(run: Run) -> dict[str, int]:
    """{id: 1 keep, -1 drop} of what a person has said, empty without a review; UserError by file and row."""
    file, said = path(run), dict[str, int]()
    if not file.exists():
        return said
    try:
        rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read ({error}): save it as CSV in UTF-8") from error
    for number, row in enumerate(rows, 1):
        if row.get("id") is None or row.get("keep") is None:
            raise UserError(f"{file} row {number}: needs the columns id and keep")
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


def write(run: Run, decisions: pl.DataFrame, records: dict[str, Record]) -> Path:
    """Writes review.csv for these decisions (id, rank, score, source, reason), keeping what was said before.

    records: the example of each id. UserError where the file there cannot be read.
    """
    words = {value: word for word, value in WORDS.items()}
    said = read(run)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in decisions.iter_rows(named=True):
        text = " ".join(records[row["id"]].answer.split())[:SHOWN_CHARACTERS]
        shown = {"keep": words[said.get(row["id"], 0)], "text": _plain(text), "source": _plain(row["source"])}
        writer.writerow({name: row.get(name) for name in FIELDS} | shown)
    write_text(path(run), out.getvalue())
    return path(run)


def _plain(text: str) -> str:
    """Text that a spreadsheet takes for no formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def _row_of(file: Path, wanted: str) -> str:
    with open(file, encoding="utf-8-sig", newline="") as handle:
        return next((f" row {n}" for n, row in enumerate(csv.DictReader(handle), 1) if row["id"] == wanted), "")
