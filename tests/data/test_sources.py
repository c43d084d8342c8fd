import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.shapes import to_messages
from forgetfilter.data.sources import fingerprint, read_originals, read_rows
from forgetfilter.data.told import Told
from forgetfilter.errors import UserError

ROWS = [{"text": 'a "quoted",\nline'}, {"text": "ä"}]
CSV = 'text\n"a ""quoted"",\nline"\nä\n'
FORMS = {
    "r.jsonl": "".join(json.dumps(row) + "\n\n" for row in ROWS),
    "r.json": json.dumps(ROWS),
    "r.csv": CSV,
    "r.ndjson": "".join(json.dumps(row) + "\r\n" for row in ROWS),
}


def rows(path: Path | str, **options: Any) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(SourceConfig(path=str(path), **options), "data.noisy.x")]


def refused(path: Path | str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        rows(path, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", FORMS)
def test_each_form_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    # Each form gives the same rows with a byte order mark and gzipped.
    (tmp_path / name).write_text(FORMS[name], encoding="utf-8-sig")
    with gzip.open(tmp_path / f"{name}.gz", "wt", encoding="utf-8") as handle:
        handle.write(FORMS[name])
    assert rows(tmp_path / name) == ROWS == rows(tmp_path / f"{name}.gz")


def test_a_kind_of_file_is_known_in_upper_case_too(tmp_path: Path) -> None:
    # .JSONL.GZ and .CSV, as other systems write them, are known too, and .TSV is separated by tabs and not by commas.
    with gzip.open(tmp_path / "R.JSONL.GZ", "wt", encoding="utf-8") as handle:
        handle.write(FORMS["r.jsonl"])
    (tmp_path / "R.CSV").write_text(CSV)
    assert rows(tmp_path / "R.JSONL.GZ") == ROWS == rows(tmp_path / "R.CSV")
    (tmp_path / "R.TSV").write_text("a\tb\n1,0\t2\n")
    assert rows(tmp_path / "R.TSV") == [{"a": "1,0", "b": "2"}]


def test_a_tsv_has_no_quoting(tmp_path: Path) -> None:
    # A quote at the start of a cell swallows no rows and is kept; a row of empty cells is a row, and an empty line is
    # none.
    path = tmp_path / "r.tsv"
    path.write_bytes(b'q\ta\r\n"Weird", he said\tone\r\n\r\nplain\t"two\n\t\nends" as text\t"four"')
    assert [[*row.values()] for row in rows(path)] == [
        ['"Weird", he said', "one"],
        ["plain", '"two'],
        ["", ""],
        ['ends" as text', '"four"'],
    ]
    told = Told()
    assert [where for where, _ in read_originals(SourceConfig(path=str(path)), "k", told)][-1] == f"{path} line 6"
    assert told.remarks == [f"{path}: 1 cells stand in quotes, which are part of the text: a TSV has no quoting"]
    path.write_text('q\ta\n"two\nlines"\tx\n')
    assert "line 2: its number of fields differs from the header's (a TSV has no quoting" in refused(path)


def write_folder(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"n": {number}}}\n')
    return folder


def test_a_folder_is_all_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The files of a folder are read in sorted order, by a relative path as by an absolute one; hidden files and those
    # of no known kind are left aside.
    names = ("b.jsonl", "a.jsonl", "sub/c.ndjson", ".cache/x.jsonl", "README.md", "dataset_info.json")
    folder = write_folder(tmp_path / "d", *names)
    monkeypatch.chdir(tmp_path)
    assert rows(folder) == [{"n": 1}, {"n": 0}, {"n": 2}] == rows("d") == rows("./d/")
    assert rows(folder, limit=2) == [{"n": 1}, {"n": 0}]
    assert rows(tmp_path / "d" / "*.jsonl") == [{"n": 1}, {"n": 0}] == rows("d/[ab].jsonl")
    assert rows("d/**/*.ndjson") == [{"n": 2}]


def test_what_a_folder_is_made_of_is_told(tmp_path: Path) -> None:
    # The remarks say how many files there are, which are left aside, and which has other fields.
    folder = write_folder(tmp_path / "d", "train-0.jsonl", "train-1.jsonl", "test.jsonl", "notes.jsonl")
    (folder / "train-1.jsonl").write_text('{"m": 1}\n')
    told = Told()
    assert [row for _, row in read_originals(SourceConfig(path=str(folder)), "k", told)] == [{"n": 0}, {"m": 1}]
    assert told.remarks == [
        f"{folder}: 2 files, train-0.jsonl and train-1.jsonl; left aside: 2 files, notes.jsonl and test.jsonl",
        f"{folder / 'train-1.jsonl'} has other fields than train-0.jsonl: m",
    ]
    assert rows(folder, split="test") == [{"n": 2}]


def test_a_folder_without_what_is_asked_for_is_one_line(tmp_path: Path) -> None:
    # A folder without data files or without the split, a pattern that matches nothing, and a file of no known kind each
    # give one line.
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").startswith(
        f"{tmp_path / 'empty'} (data.noisy.x.path): a folder without data files"
    )
    folder = write_folder(tmp_path / "d", "dev.jsonl", "a.jsonl", "b.txt")
    assert "has no file of data.noisy.x.split=train (no split: a.jsonl; validation: dev.jsonl)" in refused(folder)
    assert refused(tmp_path / "*.nothing") == f"{tmp_path / '*.nothing'} matches no file (data.noisy.x.path)"
    assert "b.txt (data.noisy.x.path): unknown kind of file" in refused(folder / "b*")


def test_the_fingerprint_of_a_folder_follows_its_files(tmp_path: Path) -> None:
    # A row or a file that is added, and a file that is renamed, make another input.
    folder = write_folder(tmp_path / "d", "a.jsonl")
    seen = [fingerprint(SourceConfig(path=str(folder)))]
    (folder / "a.jsonl").write_text('{"n": 0}\n{"n": 1}\n')
    seen.append(fingerprint(SourceConfig(path=str(folder))))
    write_folder(folder, "b.jsonl")
    seen.append(fingerprint(SourceConfig(path=str(folder))))
    (folder / "b.jsonl").rename(folder / "c.jsonl")
    seen += [fingerprint(SourceConfig(path=str(path))) for path in (folder, folder / "*.jsonl", folder / "c.jsonl")]
    assert len(set(seen)) == 5 and seen[3] == seen[4]


@pytest.mark.parametrize("path", ["a\0b.jsonl", "n" * 300 + ".jsonl", "\ud800"])
def test_a_path_that_no_file_can_have_is_one_line(path: str) -> None:
    # A path that the operating system refuses gives one line with its key.
    assert "data.noisy.x.path" in refused(path) and "\n" not in refused(path)


def test_parquet(tmp_path: Path) -> None:
    # The rows of a Parquet file are read, and a truncated file is refused with its path.
    path = tmp_path / "r.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    assert rows(path) == ROWS
    path.write_bytes(path.read_bytes()[:-9])
    assert f"{path}: not a whole Parquet file" in refused(path)


def test_columns_are_renamed_all_at_once_and_reading_ends_at_the_limit(tmp_path: Path) -> None:
    # Two columns can be swapped, and after the limit not even a broken line is read.
    path = tmp_path / "r.jsonl"
    path.write_text('{"a": 1, "b": 2}\nbroken\n')
    assert rows(path, columns={"a": "b", "b": "a"}, limit=1) == [{"a": 2, "b": 1}]


def test_a_missing_column_is_told_with_those_found(tmp_path: Path) -> None:
    # The error has the file and line, the key, and the fields of that row.
    path = tmp_path / "r.jsonl"
    path.write_text('{"b": 1, "a": 2}\n')
    expected = f"{path} line 1: data.noisy.x.columns names 'answer'; fields found: a, b"
    assert refused(path, columns={"completion": "answer"}) == expected


@pytest.mark.parametrize("name", ["r.jsonl.gz", "r.json.gz", "r.csv.gz", "r.tsv.gz"])
def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # A file that grows more than a hundred times, as no text does, is refused before it is unzipped to its end.
    monkeypatch.setattr("forgetfilter.data.row_files.GZIP_FREE", 1 << 16)
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"\n" * (4 << 20), 9))
    assert refused(path) == f"{path}: grows more than 100 times when unzipped; unzip it yourself"


@pytest.mark.parametrize("name", ["r.jsonl", "r.tsv"])
def test_a_line_beyond_any_example_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # A line that is too long is refused with its number.
    monkeypatch.setattr("forgetfilter.data.row_files.LONGEST_LINE", 1 << 20)
    path = tmp_path / name
    path.write_bytes(b'{"a": 1}\n{"a": "' + b"x" * (1 << 20) + b'"}\n')
    assert refused(path) == f"{path} line 2: longer than 1 MiB, which no example is"


def test_an_arrow_file_of_save_to_disk(tmp_path: Path) -> None:
    # Both of Arrow's formats are read, and the JSON files of a folder that datasets saved are left aside.
    from datasets import Dataset

    Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    assert rows(tmp_path / "saved") == ROWS
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_file(str(tmp_path / "r.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert rows(tmp_path / "r.arrow") == ROWS


@pytest.mark.parametrize("name", ["r.arrow", "r.parquet"])
def test_a_columns_name_that_is_no_utf8_is_one_line(tmp_path: Path, name: str) -> None:
    # A column's name that is no UTF-8, which Arrow decodes only when it is asked for, gives one line.
    path, table = tmp_path / name, pa.table({"column": ["a"]})
    if name == "r.arrow":
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    else:
        pq.write_table(table, path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"column", b"col\x90mn"))
    assert refused(path).startswith(f"{path}: ") and "\n" not in refused(path)


def test_a_file_that_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The line has the file and what the operating system says of it.
    path = tmp_path / "r.jsonl"
    path.write_text('{"a": 1}\n')

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("forgetfilter.data.row_files.open", denied, raising=False)
    assert refused(path) == f"{path}: cannot be read (Permission denied)"


def test_missing_sources(tmp_path: Path) -> None:
    # An empty path and a local file that is not there are refused with the key.
    assert "data.noisy.x.path is not set" in refused("")
    assert refused(tmp_path / "none.jsonl") == f"{tmp_path / 'none.jsonl'} is missing (data.noisy.x.path)"
    assert "is missing" in refused("./none") and "is missing" in refused("none.csv.gz")


def test_a_hub_name_that_cannot_be_had_is_one_line() -> None:
    # Whatever the hub's client raises becomes one line with the name; in the tests the hub is switched off.
    said = refused("nobody-here/nothing-there")
    assert "'nobody-here/nothing-there' (data.noisy.x.path) is neither a local file nor" in said and "\n" not in said


def test_the_fingerprint_follows_content_or_revision(tmp_path: Path) -> None:
    # The fingerprint of a file is that of its bytes, wherever it lies, and that of a hub name is the name with its
    # revision.
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(CSV)
    first, second = (fingerprint(SourceConfig(path=str(tmp_path / name))) for name in ("a.csv", "b.csv"))
    assert first == second
    assert fingerprint(SourceConfig(path="a/b", revision="v1", subset="s")) == "a/b@v1/s/train"


CHAT = [{"from": "customer", "value": "a"}, {"from": "agent", "value": "b"}]


@pytest.mark.parametrize("chat", [CHAT, json.dumps(CHAT)], ids=["list", "cell"])
def test_roles_of_any_name_are_read_as_the_setting_says(tmp_path: Path, chat: Any) -> None:
    # Roles are renamed in a list and in a cell that holds one; a role that the setting does not have is refused by its
    # name.
    (tmp_path / "r.jsonl").write_text(json.dumps({"conversations": chat, "customer": "x"}) + "\n")
    (row,) = rows(tmp_path / "r.jsonl", roles={"customer": "user", "agent": "assistant"})
    assert to_messages(row, "here") == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert row["customer"] == "x"
    (row,) = rows(tmp_path / "r.jsonl", roles={"customer": "user"})
    with pytest.raises(UserError, match=r"message 2 needs a role .* set roles: \{agent: user\} on this source"):
        to_messages(row, "here")


def test_files_of_differing_columns_stand_together(tmp_path: Path) -> None:
    # A row that has only the new name of a column keeps it, and one that has neither is refused with its file and row.
    (tmp_path / "a.jsonl").write_text('{"question": "x", "answer": "y"}\n')
    (tmp_path / "b.jsonl").write_text('{"prompt": "v", "completion": "w"}\n')
    columns = {"prompt": "question", "completion": "answer"}
    found = rows(f"{tmp_path}/*.jsonl", columns=columns)
    assert [(row["prompt"], row["completion"]) for row in found] == [("x", "y"), ("v", "w")]
    (tmp_path / "c.jsonl").write_text('{"prompt": "v"}\n')
    assert "c.jsonl line 1: data.noisy.x.columns names 'answer'" in refused(f"{tmp_path}/*.jsonl", columns=columns)
