import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.original_rows import Originals, find, to_line
from forgetfilter.data.sources import read_originals
from forgetfilter.errors import UserError


def kept(folder: Path, sources: dict[str, Path], **settings: Any) -> list[list[Any]]:
    """The rows of each source as the originals give them back."""
    records = folder / "noisy.jsonl"
    records.write_text("{}\n")
    originals = Originals(folder / "originals")
    for name, path in sources.items():
        source = SourceConfig(path=str(path), **settings)
        rows = read_originals(source, f"data.noisy.{name}")
        assert len(list(originals.keep(name, source, rows))) > 0
    originals.finish(records)
    found = find(folder / "originals", records)
    assert [original.source for original in found] == list(sources)
    texts = [Path(original.path).read_text(encoding="utf-8-sig").split("\n") for original in found]
    return [[json.loads(line) for line in text if line][: found[i].rows] for i, text in enumerate(texts)]


ROWS = [{"prompt": "é\u2028", "completion": "a", "n": 1, "more": {"x": [1.5, None]}}, {"text": "b", "n": None}]


def test_a_jsonl_file_stays_where_it_is(tmp_path: Path) -> None:
    # A .jsonl file is not copied: only the manifest is written, and the rows are read from the file itself.
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n\n" for row in ROWS))
    assert kept(tmp_path, {"mine": path}) == [ROWS]
    assert [file.name for file in (tmp_path / "originals").iterdir()] == ["manifest.json"]


def test_rows_of_every_other_kind_are_written(tmp_path: Path) -> None:
    # Each row of another kind of file is stored as the reader gives it, with all of its fields and no other.
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "c.csv").write_text('text,n\r\n"a\nb",1\r\n')
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "d.parquet")
    names = ("a.json", "b.jsonl.gz", "c.csv", "d.parquet")
    whole = [{"prompt": None, "completion": None, "more": None} | row for row in ROWS]
    read = kept(tmp_path, {name: tmp_path / name for name in names})
    assert read[:3] == [ROWS, ROWS, [{"text": "a\nb", "n": "1"}]]
    assert [{key: value for key, value in row.items() if key != "text"} for row in read[3]] == [
        {key: value for key, value in row.items() if key != "text"} for row in whole
    ]


def test_columns_keep_their_own_names_and_the_limit_holds(tmp_path: Path) -> None:
    # A column that is read under another name is given back under its own.
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"q": "1", "a": "2"}, {"q": "3", "a": "4"}]))
    assert kept(tmp_path, {"a": path}, columns={"prompt": "q", "completion": "a"}, limit=1) == [[{"q": "1", "a": "2"}]]


def test_what_json_cannot_hold(tmp_path: Path) -> None:
    # A line of JSON holds a text for a date, base64 for bytes, null for NaN and an escape for a lone surrogate.
    import datetime

    row = {"day": datetime.date(2024, 1, 2), "raw": b"\xff", "score": [float("nan"), 1.0], "text": "\ud800é"}
    wanted = {"day": "2024-01-02", "raw": "/w==", "score": [None, 1.0], "text": "\ud800é"}
    assert json.loads(to_line(row)) == wanted


def test_what_changed_or_is_gone_is_named(tmp_path: Path) -> None:
    # A file that changed or is gone is named, because its rows would no longer be those of the records.
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "a"}\n')
    kept(tmp_path, {"mine": path})
    records, folder = tmp_path / "noisy.jsonl", tmp_path / "originals"
    path.write_text('{"text": "b"}\n')
    with pytest.raises(UserError, match=r"mine.jsonl changed since the mix stage"):
        find(folder, records)
    path.unlink()
    with pytest.raises(UserError, match=r"mine.jsonl is missing"):
        find(folder, records)
    records.write_text("")
    with pytest.raises(UserError, match=r"noisy.jsonl changed since the mix stage"):
        find(folder, records)
    assert find(tmp_path / "none", records) == []
