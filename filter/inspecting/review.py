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
from forgetfilter.storage import review
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import scan

from ..decisions import records_of, stored
from ..table.joined_table import Table
from . import texts

FIELDS = ("keep", "rank", "score", "p_value", "source", "reason", "id", "prompt", "text")
SHOWN_CHARACTERS = 300  # of the prompt, and of the answer


def path(paths: RunPaths) -> Path:
    return paths.folder / review.NAME


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
    said = review.read(paths.folder)
    earlier = {row["id"]: row for row in review.table(path(paths))} if path(paths).exists() else {}
    chosen = _chosen(paths, limit, list(said))
    records, words = _records(paths, chosen), {value: word for word, value in review.WORDS.items()}
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


def _plain(text: str) -> str:
    """Text that a spreadsheet takes for no formula, also where it drops blanks, control and zero-width characters
    before it looks, or takes wide signs for narrow ones."""
    first = next((c for c in text if c.isprintable() and not c.isspace()), "")
    return f"'{text}" if first and first in "=+-@\uff1d\uff0b\uff0d\uff20" else text


def _row_of(file: Path, wanted: str) -> str:
    return next((f" row {number}" for number, row in enumerate(review.table(file), 1) if row["id"] == wanted), "")
