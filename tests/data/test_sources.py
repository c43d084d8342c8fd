import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.sources import fingerprint, read_rows
from forgetfilter.errors import UserError

ROWS = [{"text": 'a "quoted",\nline'}, {"text": "ä"}]
CSV = 'text\n"a ""quoted"",\nline"\nä\n'
FORMS = {
    "r.jsonl": "".join(json.dumps(row) + "\n\n" for row in ROWS),
    "r.json": json.dumps(ROWS),
    "r.csv": CSV,
    "r.tsv": CSV,
}


def rows(path: Path | str, **options: Any) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(SourceConfig(path=str(path), **options), "data.noisy.x")]


def refused(path: Path | str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        rows(path, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", FORMS)
def test_each_form_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    # Plain, with a byte order mark, and gzipped.
    (tmp_path / name).write_text(FORMS[name], encoding="utf-8-sig")
    with gzip.open(tmp_path / f"{name}.gz", "wt", encoding="utf-8") as handle:
        handle.write(FORMS[name])
    assert rows(tmp_path / name) == ROWS == rows(tmp_path / f"{name}.gz")


def test_parquet(tmp_path: Path) -> None:
    # Rows come one at a time; a truncated file is told.
    path = tmp_path / "r.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    assert rows(path) == ROWS
    path.write_bytes(path.read_bytes()[:-9])
    assert f"{path}: not a whole Parquet file" in refused(path)


def test_columns_are_renamed_all_at_once_and_reading_ends_at_the_limit(tmp_path: Path) -> None:
    # Swapping two columns swaps them; after the limit not even a broken line is read.
    path = tmp_path / "r.jsonl"
    path.write_text('{"a": 1, "b": 2}\nbroken\n')
    assert rows(path, columns={"a": "b", "b": "a"}, limit=1) == [{"a": 2, "b": 1}]


def test_a_missing_column_is_told_with_those_found(tmp_path: Path) -> None:
    # The file and line, the key, and the fields of that row.
    path = tmp_path / "r.jsonl"
    path.write_text('{"b": 1, "a": 2}\n')
    expected = f"{path} line 1: data.noisy.x.columns names 'answer'; fields found: a, b"
    assert refused(path, columns={"completion": "answer"}) == expected


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("r.jsonl", b'{"a": 1}\n\n{"a": \n', "line 3: not valid JSON"),
        ("r.jsonl", b'{"a": 1}\n[2]\n', "line 2: each row must be an object"),
        ("r.jsonl", b'{"a": "\xff"}\n', "line 1: cannot be read"),
        ("r.json", b'[{"a": 1},\n {"a" 2}]', "line 2: not valid JSON"),
        ("r.json", b'{"a": 1}', "must hold a list of objects"),
        ("r.json", b'["\xff"]', "cannot be read"),
        ("r.csv", b"a,b\n1,2\n3\n", "row 2: its number of fields differs"),
        ("r.csv", b"a,b\n1,2\n1,2,3\n", "row 2: its number of fields differs"),
        ("r.csv", b"a\n" + b"x" * 200_000 + b"\n", "row 1: cannot be read"),
        ("r.jsonl.gz", b"no gzip", "cannot be read"),
        ("r.csv.gz", b"no gzip", "cannot be read"),
        ("r.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:-20], "cannot be read"),
        ("r.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:10] + b"\xff" * 30, "cannot be read"),
        ("r.jsonl", b"", "is empty (data.noisy.x.path)"),
        ("r.csv", b"a,b\n", "is empty (data.noisy.x.path)"),
        ("r.doc", b"x", "unknown kind of file"),
    ],
)
def test_bad_files_are_named_with_their_row(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    # Every message begins with the file, and no library's error comes through.
    path = tmp_path / name
    path.write_bytes(content)
    assert refused(path).startswith(str(path)) and said in refused(path)


def test_missing_sources(tmp_path: Path) -> None:
    # No path at all, and a local file that is not there.
    assert "data.noisy.x.path is not set" in refused("")
    assert refused(tmp_path / "none.jsonl") == f"{tmp_path / 'none.jsonl'} is missing (data.noisy.x.path)"
    assert "is missing" in refused("./none") and "is missing" in refused("none.csv.gz")


def test_a_hub_name_that_cannot_be_had_is_one_line() -> None:
    # The hub is switched off in the tests; whatever its client raises becomes one line with the name.
    said = refused("nobody-here/nothing-there")
    assert "'nobody-here/nothing-there' (data.noisy.x.path) is neither a local file nor" in said and "\n" not in said


def test_the_fingerprint_follows_content_or_revision(tmp_path: Path) -> None:
    # A file is its bytes, wherever it lies; a hub name is itself with its revision.
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(CSV)
    first, second = (fingerprint(SourceConfig(path=str(tmp_path / name))) for name in ("a.csv", "b.csv"))
    assert first == second
    assert fingerprint(SourceConfig(path="a/b", revision="v1", subset="s")) == "a/b@v1/s/train"
