"""Files of rows, and rows, that nobody meant: each is refused with the file and the row, before anything is written."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from malformed.one_line import one_line

from forgetfilter.config.registry import SUITES
from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.shapes import to_messages
from forgetfilter.data.sources import read_rows
from forgetfilter.errors import UserError

ROW = b'{"a": 1}\n'
FILES: list[tuple[str, bytes, str]] = [
    ("r.jsonl", ROW + b'\n{"a": \n', "line 3: not valid JSON"),
    ("r.jsonl", ROW + b"[2]\n", "line 2: each row must be an object"),
    ("r.jsonl", ROW + b"7\n", "line 2: each row must be an object"),
    ("r.jsonl", ROW + b"null\n", "line 2: each row must be an object"),
    ("r.jsonl", ROW + b'{"a": 1} {"a": 2}\n', "line 2: not valid JSON (Extra data)"),
    ("r.jsonl", b'{"a": "\xff"}\n', "line 1: cannot be read"),
    ("r.jsonl", "\ufeff{}\n".encode("utf-16"), "line 1: cannot be read"),
    ("r.jsonl", ROW * 5000 + b'{"a": "\xff"}\n', "line 5001: cannot be read"),
    ("r.jsonl", b'{"a": 1, "b": {"c": 1, "c": 2}}\n', "line 1: not valid JSON (the name 'c' is there twice)"),
    ("r.jsonl", b'{"a": ' + b"1" * 5000 + b"}\n", "line 1: not valid JSON (a number has thousands of digits)"),
    ("r.jsonl", b"[" * 100_000 + b"\n", "line 1: not valid JSON (nested too deep)"),
    ("r.jsonl", b'{"a": ' * 10_000 + b"1" + b"}" * 10_000 + b"\n", "line 1: not valid JSON (nested too deep)"),
    ("r.jsonl", b"", "is empty (data.noisy.x.path)"),
    ("r.jsonl", b"\n \n", "is empty (data.noisy.x.path)"),
    ("r.jsonl", b"\x00\x00", "line 1: not valid JSON"),
    ("r.ndjson", ROW + b"{'a': 1}\n", "line 2: not valid JSON"),
    ("r.json", b'[{"a": 1},\n {"a" 2}]', "line 2: not valid JSON"),
    ("r.json", b'{"a": 1}', "must hold a list of objects"),
    ("r.json", b"", "must hold a list of objects"),
    ("r.json", b'["\xff"]', "cannot be read"),
    ("r.json", b'[{"a": 1},\n {"b": 1, "b": 2}]', "row 2: not valid JSON (the name 'b' is there twice)"),
    ("r.json", b'[{"a": 1}, {"a": ' + b"1" * 5000 + b"}]", "row 2: not valid JSON (a number has thousands"),
    ("r.json", b"[" * 100_000, "row 1: not valid JSON (nested too deep)"),
    ("r.json", b'[{"a": 1}] []', "line 1: not valid JSON (Extra data)"),
    ("r.json", b'[{"a": 1},]', "line 1: not valid JSON"),
    ("r.json", b'[{"a": 1}', "line 1: not valid JSON (Expecting ',' or ']')"),
    ("r.json", b"[1]", "row 1: each row must be an object"),
    ("r.csv", b"a,b\n1,2\n3\n", "row 2: its number of fields differs"),
    ("r.csv", b"a,b\n1,2\n1,2,3\n", "row 2: its number of fields differs"),
    ("r.csv", b"a\n" + b"x" * 200_000 + b"\n", "row 1: cannot be read"),
    ("r.csv", b"a,a\n1,2\n", "the column 'a' is there twice"),
    ("r.csv", b'a,b\n1,2\n"x" y,2\n', "row 2: cannot be read"),
    ("r.csv", b'a,b\n1,2\n"x,2\n3,4\n', "row 2: cannot be read"),
    ("r.csv", b"a\n1\n2\n\xff\n", "row 3: cannot be read (not UTF-8)"),
    ("r.csv", b"a\xff\n1\n", "(the header): cannot be read (not UTF-8)"),
    ("r.csv", b"a,b\n", "is empty (data.noisy.x.path)"),
    ("r.tsv", b"a\ta\n1\t2\n", "the column 'a' is there twice"),
    ("r.tsv", b"a\tb\n1\n", "line 2: its number of fields differs"),
    ("r.tsv", b"a\n1\n\xff\n", "line 3: cannot be read"),
    ("r.parquet", b"", "not a whole Parquet file"),
    ("r.parquet", b"PAR1" * 3, "not a whole Parquet file"),
    ("r.arrow", b"nothing", "not a whole Arrow file"),
    ("r.arrow", b"ARROW1", "not a whole Arrow file"),
    ("r.jsonl.gz", b"no gzip", "cannot be read"),
    ("r.csv.gz", b"no gzip", "cannot be read"),
    ("r.jsonl.gz", b"", "is empty (data.noisy.x.path)"),
    ("r.jsonl.gz", gzip.compress(ROW * 999, mtime=0)[:-20], "cannot be read"),
    ("r.jsonl.gz", gzip.compress(ROW * 999, mtime=0)[:10] + b"\xff" * 30, "cannot be read"),
    ("r.doc", b"x", "unknown kind of file"),
    ("r.parquet.gz", b"x", "r.parquet.gz"),
]


def read(path: Path, **options: Any) -> str:
    return one_line(lambda: list(read_rows(SourceConfig(path=str(path), **options), "data.noisy.x")))


@pytest.mark.parametrize(
    ("name", "content", "said"), FILES, ids=[f"{n}-{name}" for n, (name, _, _) in enumerate(FILES)]
)
def test_a_file_that_is_no_rows(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    # The line begins with the file, and no library's error comes through.
    path = tmp_path / name
    path.write_bytes(content)
    line = read(path)
    assert line.startswith(f"forgetfilter: {path}") and said in line


def twice(path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)


def no_utf8(path: Path) -> None:
    texts = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xff", b"c"]).buffers())
    pq.write_table(pa.Table.from_arrays([texts], names=["a"]), path)


def late_date(path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([0, 2**62], pa.timestamp("us"))}), path)


def cut(path: Path) -> None:
    pq.write_table(pa.table({"a": ["x" * 100] * 50}), path)
    path.write_bytes(path.read_bytes()[:-30])


def garbled(path: Path) -> None:
    pq.write_table(pa.table({"a": np.arange(3000)}), path)
    content = bytearray(path.read_bytes())
    content[30:90] = b"\xff" * 60
    path.write_bytes(content)


def no_rows(path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), path)


TABLES: list[tuple[Callable[[Path], None], str]] = [
    (twice, "the column 'a' is there twice"),
    (no_utf8, "row 2: cannot be read"),
    (late_date, "row 2: cannot be read"),
    (cut, "not a whole Parquet file"),
    (garbled, "not a whole Parquet file"),
    (no_rows, "is empty (data.noisy.x.path)"),
]


@pytest.mark.parametrize(("make", "said"), TABLES, ids=[make.__name__ for make, _ in TABLES])
def test_a_parquet_file_that_is_no_rows(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    # Columns of one name, texts that are none and dates that Python does not have, all of which Arrow allows, give one
    # line with the file.
    make(tmp_path / "r.parquet")
    line = read(tmp_path / "r.parquet")
    assert line.startswith(f"forgetfilter: {tmp_path}/r.parquet") and said in line


PLACES: list[tuple[str, dict[str, Any], str]] = [
    ("none.jsonl", {}, "is missing (data.noisy.x.path)"),
    ("d", {}, "a folder without data files"),
    ("d/*.jsonl", {}, "matches no file"),
    ("r.jsonl", {"columns": {"completion": "b"}}, "data.noisy.x.columns names 'b'; fields found: a"),
    ("e", {"split": "test"}, "has no file of data.noisy.x.split=test"),
    ("a\0b.jsonl", {}, "data.noisy.x.path"),
    ("n" * 300 + ".jsonl", {}, "data.noisy.x.path"),
    ("\ud800.jsonl", {}, "data.noisy.x.path"),
]


@pytest.mark.parametrize(("name", "options", "said"), PLACES, ids=ascii)
def test_a_source_that_is_not_there(tmp_path: Path, name: str, options: dict[str, Any], said: str) -> None:
    # The line names the key.
    (tmp_path / "d").mkdir()
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "train.jsonl").write_bytes(ROW)
    (tmp_path / "r.jsonl").write_bytes(ROW)
    assert said in read(Path(f"{tmp_path}/{name}"), **options)


def test_a_revision_that_is_not_there_is_one_line() -> None:
    # The dozen unrelated types that the hub's client raises become one line with the name.
    assert "'no-one/none' (data.noisy.x.path) is neither a local file" in read(Path("no-one/none"), revision="nosuch")


ASK = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
ROWS: list[tuple[Any, str]] = [
    ({}, "needs messages, or conversations"),
    ({"question": "q", "answer": "a"}, "set columns: {prompt: question, completion: answer}"),
    ({"prompt": "q"}, "needs messages, or conversations"),
    ({"prompt": "q", "completion": None}, "(completion without a value)"),
    ({"prompt": "q", "completion": float("nan")}, "(completion without a value)"),
    ({"prompt": "q", "completion": float("inf")}, "completion holds inf, which is no text"),
    ({"prompt": "q", "completion": b"\xff"}, "completion holds bytes that are no UTF-8"),
    ({"prompt": "q", "completion": {1, 2}}, "completion holds a value of type set"),
    ({"prompt": "q", "completion": [b"a"]}, "completion holds a value of type list"),
    ({"prompt": [ASK], "completion": {1}}, "completion holds a value of type set"),
    ({"prompt": "q", "completion": " "}, "the last message must be the assistant's and not empty"),
    ({"prompt": "q", "completion": "a" * 10_000_001}, "completion has 10000001 characters"),
    ({"prompt": [ASK], "completion": [ASK]}, "the last message must be the assistant's"),
    ({"prompt": [ASK], "completion": [ANSWER | {"weight": 0}]}, "the last message has weight 0"),
    ({"messages": []}, "messages must be a list of at least one message"),
    ({"messages": "hello"}, "messages must be a list of at least one message"),
    ({"messages": [[]]}, "message 1 needs a role among"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "message 1 needs a role among"),
    ({"messages": [{"role": {}, "content": "x"}]}, "message 1 needs a role among"),
    ({"messages": [ASK, {"role": "assistant", "content": None}]}, "message 2 has no text"),
    ({"messages": [ASK]}, "the last message must be the assistant's"),
    ({"messages": [{**ASK, "content": [{"type": "image_url"}]}, ANSWER]}, "a part of type 'image_url'"),
    ({"messages": [ASK, ANSWER | {"tool_calls": 7}]}, "tool_calls of message 2 must be a list"),
    ({"messages": [ASK, ANSWER | {"content": {"a": float("nan")}}]}, "the content of message 2 holds"),
    ({"messages": [ASK, ANSWER], "system": "s", "system_prompt": "t"}, "has several system texts that differ"),
    ({"prompt": "q", "completion": "a", "history": "x"}, "history must be a list"),
    ({"prompt": "q", "completion": "a", "history": [["q"]]}, "history must be a list of pairs"),
    ({"prompt": "q", "completion": "a", "tools": {1}}, "tools holds a value of type set"),
    ({"conversations": [{"from": "human", "value": 7}]}, "the last message must be the assistant's"),
    ({"instruction": "q", "output": float("-inf")}, "output holds -inf"),
    ({"text": ""}, "the last message must be the assistant's and not empty"),
]


@pytest.mark.parametrize(("row", "said"), ROWS, ids=range(len(ROWS)))
def test_a_row_that_teaches_nothing(row: Any, said: str) -> None:
    # The line names the place of the row.
    line = one_line(lambda: to_messages(row, "f line 9"))
    assert line.startswith("forgetfilter: f line 9: ") and said in line


SCORED = {"choices": ["a", "b", "c"], "gold": 0, "unknown": 0, "stereotyped": 1, "polarity": "neg"}
BIAS = {"prompt": "q", **SCORED, "condition": "ambig"}
PROMPTS: list[tuple[str, dict[str, Any], str]] = [
    ("task", {"prompt": "q"}, "suite task needs a reference"),
    ("task", {"prompt": "q", "reference": " "}, "suite task needs a reference"),
    ("task", {"prompt": "q", "completion": float("nan")}, "suite task needs a reference"),
    ("task", {"prompt": "q", "reference": "x", "metric": "bleu"}, "metric cannot be 'bleu'"),
    ("bias", {"prompt": "q"}, "needs the field 'choices'"),
    ("bias", {**BIAS, "gold": 3}, "gold must be the index of a choice, 0 to 2, got 3"),
    ("bias", {**BIAS, "condition": "clear"}, "condition must be ambig or disambig, got 'clear'"),
    ("bias", {**BIAS, "choices": ["a"]}, "choices must be a list of three answers"),
    ("bias", {**BIAS, "choices": ["a", "b", None]}, "needs the field 'choices'"),
    ("toxicity", {"query": "q"}, "a prompt needs one of messages, prompt"),
    ("toxicity", {"prompt": " "}, "the prompt is empty"),
    ("toxicity", {"messages": [ANSWER]}, "the last turn to be answered must be"),
    ("toxicity", {"messages": ["q"]}, "message 1 needs a role among"),
    ("crows_pairs", {"sent_more": "a", "sent_less": b"\xff", "bias_type": "age"}, "sent_less holds bytes"),
    ("harmfulness", {"goal": {1}}, "goal holds"),
    ("over_refusal", {"prompt": "q", "label": "maybe"}, "label must say whether the prompt is safe or unsafe"),
]


@pytest.mark.parametrize(("suite", "row", "said"), PROMPTS, ids=range(len(PROMPTS)))
def test_a_prompt_that_cannot_be_asked(suite: str, row: dict[str, Any], said: str) -> None:
    # The mix refuses the row with its place, before anything is trained.
    line = one_line(lambda: SUITES.get(suite, "eval.data").prompt(row, "f line 9"))
    assert line.startswith("forgetfilter: f line 9: ") and said in line


def test_every_json_value_in_the_place_of_a_row_is_refused(tmp_path: Path) -> None:
    # Any JSON value but an object is refused with its line.
    for value in (None, True, 0, 1.5, "text", [], [{}]):
        (tmp_path / "r.jsonl").write_text(f"{json.dumps(value)}\n")
        assert "line 1: each row must be an object" in read(tmp_path / "r.jsonl")


def test_a_parquet_footer_with_any_byte_changed_is_rows_or_a_line(tmp_path: Path) -> None:
    # No changed byte of the footer ends the process, as pyarrow does if it reads the metadata of a column whose sizes
    # disagree.
    path = tmp_path / "r.parquet"
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    pq.write_table(pa.Table.from_pylist([{"messages": chat}]), path)
    whole = path.read_bytes()
    footer, lines = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), set[str]()
    for place in range(footer, len(whole) - 8):
        path.write_bytes(whole[:place] + bytes([(whole[place] + 16) % 256]) + whole[place + 1 :])
        try:
            list(read_rows(SourceConfig(path=str(path)), "data.noisy.x"))
        except UserError as error:
            lines.add(str(error))
    assert any("histogram size mismatch" in line for line in lines)
    assert all(line.startswith(str(path)) for line in lines)
