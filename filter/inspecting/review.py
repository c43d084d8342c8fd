"""A person's decisions on single examples: RUN/review.csv, which no stage deletes and every decision follows.

`forgetfilter filter RUN --review` writes it, most forgotten first, with an empty column `keep`. Write yes to
keep an example after all, or no to drop it, and run `filter` or `run` again. The answers stay when the rule changes.
The texts are masked unless --reveal asks for them.
"""

import csv
import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forgetfilter.errors import UserError
from forgetfilter.files import write_text
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import scan

from ..decisions import records_of, stored
from ..table.joined_table import Table
from . import texts

FIELDS = ("keep", "rank", "score", "p_value", "source", "reason", "id", "prompt", "text")
WORDS = {"yes": 1, "no": -1, "": 0}
SHOWN_CHARACTERS = 300  # of the prompt, and of the answer


def path(paths: RunPaths) -> Path:
    return paths.folder / "review.csv"


def read(paths: RunPaths) -> dict[str, int]:
    """{id: 1 to keep, -1 to drop} as a person has said; empty without a review. UserError names file and row."""
    file, said = path(paths), dict[str, int]()
    if not file.exists():
        return said
    for number, row in enumerate(_table(file), 1):
        if row.get("id") is None or row.get("keep") is None:
            raise UserError(f"{file} row {number}: needs the columns id and keep")
        word = row["keep"].strip().lower()
        if word not in WORDS:
            raise UserError(f"{file} row {number}: keep must be yes, no or empty, got {row['keep']!r}")
        if said.get(row["id"], WORDS[word]) != WORDS[word]:
            raise UserError(f"{file} row {number}: id {row['id'][:12]} is there twice with different words")
        said[row["id"]] = WORDS[word]
    return {name: said[name] for name in sorted(said) if said[name]}


def rows(table: Table, said: dict[str, int], paths: RunPaths) -> NDArray[np.int8]:
    """[n] what was said on each example, 0 for nothing; UserError for an id that the data does not have."""
    reviewed = np.zeros(table.count, dtype=np.int8)
    if said:
        ids = scan(table.index).select("id").with_row_index("row")
        found = ids.filter(pl.col("id").is_in(list(said))).collect(engine="streaming")
        if len(found) < len(said):
            unknown = min(said.keys() - set(found["id"]))
            raise UserError(f"{path(paths)}{_row_of(path(paths), unknown)}: the data has no example {unknown[:20]!r}")
        reviewed[found["row"].to_numpy()] = [said[name] for name in found["id"]]
    return reviewed


def write(paths: RunPaths, limit: int, reveal: bool = False) -> Path:
    """Writes review.csv: the `limit` most forgotten, the dropped first, and all that were reviewed before.

    The texts are masked unless `reveal`. Columns that a person added stay. UserError where the file that is there
    cannot be read, or nothing was decided yet.
    """
    said, earlier = read(paths), {row["id"]: row for row in _table(path(paths))} if path(paths).exists() else {}
    chosen = _chosen(paths, limit, list(said))
    records, words = _records(paths, chosen), {value: word for word, value in WORDS.items()}
    added = [name for name in next(iter(earlier.values()), {}) if name and name not in FIELDS]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, (*FIELDS, *added), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in chosen.sort("rank", nulls_last=True).iter_rows(named=True):
        messages = records[row["id"]]["messages"]
        own = {"keep": words[said.get(row["id"], 0)], "source": _plain(row["source"])}
        for name, text in (("prompt", texts.prompt_of(messages)), ("text", messages[-1]["content"])):
            own[name] = _plain(texts.shown(text, SHOWN_CHARACTERS, reveal))
        writer.writerow(earlier.get(row["id"], {}) | row | own)
    write_text(path(paths), out.getvalue())
    return path(paths)


def _chosen(paths: RunPaths, limit: int, said: list[str]) -> pl.DataFrame:
    """The decisions on the rows of the file."""
    decisions = stored(paths)
    names = decisions.collect_schema().names()
    ranked = decisions.filter(pl.col("rank").is_not_null(), *([~pl.col("probe")] if "probe" in names else []))
    most = ranked.sort("drop", "rank", descending=[True, False]).head(limit)
    both = pl.concat([most, decisions.filter(pl.col("id").is_in(said))]).unique("id")
    return both.select("row", "drop", *(name for name in FIELDS if name in names)).collect(engine="streaming")


def _records(paths: RunPaths, chosen: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """The records of some rows by their ids: of the dropped from the head of their file, of others from the data."""
    found: dict[str, Any] = {}
    dropped = paths.folder / "filter" / "dropped.jsonl"
    with open(dropped, encoding="utf-8") if dropped.exists() else io.StringIO() as head:
        for line in itertools.islice(head, int(chosen["drop"].sum())):
            record = json.loads(line)
            found[record["id"]] = record
    return found | records_of(paths, chosen.filter(~pl.col("id").is_in(list(found))))


def _table(file: Path) -> list[dict[str, Any]]:
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


def _plain(text: str) -> str:
    """Text that a spreadsheet takes for no formula, also where it drops blanks, control and zero-width characters
    before it looks, or takes wide signs for narrow ones."""
    first = next((c for c in text if c.isprintable() and not c.isspace()), "")
    return f"'{text}" if first and first in "=+-@\uff1d\uff0b\uff0d\uff20" else text


def _row_of(file: Path, wanted: str) -> str:
    return next((f" row {number}" for number, row in enumerate(_table(file), 1) if row["id"] == wanted), "")
