"""The rows of a run that a reader of the report can look through and judge: the dropped ones, and the nearest kept.

The page keeps them compressed and in base64, so that no text of them can be read in the file itself. What a person
answers there is saved as the review.csv that the filter follows.
"""

import base64
import json
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from forgetfilter.data.line_blocks import at
from forgetfilter.errors import plain_label
from forgetfilter.files import finite
from forgetfilter.report.sentences import shortened
from forgetfilter.storage import review
from forgetfilter.storage.results import read_dropped

MOST_DROPPED = 5_000
MOST_KEPT = 200
SHOWN_CHARACTERS = 4_000  # of one message, so that a row stays readable whatever the data holds
MOST_CHARACTERS = 8_000_000  # of all dropped rows, and a quarter of it of the kept ones, which bounds the page
LOSSES = ("before_loss", "after_loss", "num_tokens")


def review_rows(folder: Path, decisions: pl.DataFrame) -> list[dict[str, Any]]:
    """The dropped rows, the highest scores first, and then the kept rows with the highest scores, with their texts.

    `decisions` are those of all rows, in the order of the data. At most MOST_DROPPED and MOST_KEPT rows are taken, and
    fewer dropped ones where their texts are long. A kept row whose text is no longer in the data is left out.
    """
    records = list(_until_full(islice(read_dropped(folder), MOST_DROPPED), MOST_CHARACTERS))
    known = decisions.with_row_index("row")
    taken = known.filter(pl.col("id").is_in([record["id"] for record in records]))
    losses = {row["id"]: row for row in taken.select("id", *LOSSES).to_dicts()}
    dropped = [_row(record, losses.get(record["id"], {}), drop=True) for record in records]
    own = ~pl.col("probe") if "probe" in decisions.columns else pl.lit(True)
    kept = known.lazy().filter(~pl.col("drop"), pl.col("rank").is_not_null(), own)
    nearest = kept.bottom_k(MOST_KEPT, by="rank").collect().sort("rank")
    texts = _records_at(folder / "data" / "noisy.jsonl", nearest)
    near = (one | texts[one["id"]] for one in nearest.to_dicts() if one["id"] in texts)
    return dropped + [_row(one, one, drop=False) for one in _until_full(near, MOST_CHARACTERS // 4)]


def packed(value: Any) -> str:
    """A JSON value in deflate and base64, for an attribute of the page."""
    return base64.b64encode(zlib.compress(json.dumps(finite(value), separators=(",", ":")).encode())).decode()


def answers(folder: Path) -> dict[str, str]:
    """{id: yes or no} of the review.csv that is there."""
    words = {number: word for word, number in review.WORDS.items()}
    return {name: words[said] for name, said in review.read(folder).items()}


def told(rows: list[dict[str, Any]], dropped: int) -> str:
    """Which rows the page has."""
    there = sum(row["drop"] for row in rows)
    if not dropped:
        first = "Nothing was dropped."
    elif there == dropped:
        first = f"All {dropped:,} dropped rows are here." if dropped > 1 else "The one dropped row is here."
    else:
        first = (
            f"Of the {dropped:,} dropped rows, the {there:,} with the highest scores are here; filter/dropped.jsonl "
        )
        first += "has all."
    return f"{first} Beside them stand the {len(rows) - there:,} kept rows with the highest scores."


def _until_full(records: Iterator[dict[str, Any]], most: int) -> Iterator[dict[str, Any]]:
    """The first record, and those after it until their texts have `most` characters together."""
    left = most
    for record in records:
        yield record
        left -= sum(min(len(message["content"]), SHOWN_CHARACTERS) for message in record["messages"])
        if left <= 0:
            return


def _records_at(path: Path, wanted: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """{id: record} of the lines `row` of the data, without those that are no longer there with their `id`."""
    rows = wanted.select("row", "id").sort("row")
    there = map(json.loads, at(path, rows["row"].to_list())) if path.exists() else []
    return {name: record for name, record in zip(rows["id"], there) if record.get("id") == name}


def _row(record: dict[str, Any], decision: dict[str, Any], drop: bool) -> dict[str, Any]:
    told = {key: record.get(key) for key in ("id", "label", "score", "rank", "p_value")}
    names = {"source": plain_label(record["source"]), "reason": plain_label(record.get("reason") or "", 160)}
    texts = [(message["role"], shortened(message["content"], SHOWN_CHARACTERS)) for message in record["messages"]]
    return told | names | {key: decision.get(key) for key in LOSSES} | {"drop": drop, "texts": texts}
