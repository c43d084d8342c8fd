"""Properties of the reader over anything that a row may hold."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.config.registry import SUITES, own_prompts
from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.original_rows import to_line
from forgetfilter.data.records import make_records, read_records, write_records
from forgetfilter.data.shapes import to_messages
from forgetfilter.data.sources import read_rows
from forgetfilter.data.told import Told
from forgetfilter.errors import UserError
from forgetfilter.mix.benchmarks.prompts import with_ids

any_text = st.text(st.characters(), max_size=6)  # with lone surrogates, NUL and line ends
scalar = st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.binary(max_size=4) | st.dates()
field_names = st.sampled_from(
    [
        *("messages", "conversations", "prompt", "completion", "instruction", "input", "output", "text", "system"),
        *("history", "tools", "role", "from", "content", "value", "tool_calls", "function", "name", "arguments"),
        *("reasoning_content", "weight", "type", "choices", "answer_info", "question", "reference", "label", "source"),
    ]
)
roles = st.sampled_from(["user", "assistant", "system", "tool", "gpt", "human", "function_call"])
message = st.fixed_dictionaries(
    {"role": roles}, optional={"content": scalar, "tool_calls": st.lists(scalar, max_size=2), "name": any_text}
)
anything = st.recursive(
    scalar | message,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(field_names | any_text, inner, max_size=4),
    max_leaves=8,
)
rows = st.dictionaries(field_names | any_text, anything | st.lists(message, max_size=3), max_size=6)


@given(rows)
@settings(max_examples=400, deadline=None)
def test_a_row_is_read_as_texts_or_refused_in_one_line(row: dict[str, Any]) -> None:
    # Any row is refused with its line or read as messages that can be written as UTF-8 and end with an answer; there is
    # no other error.
    told = Told()
    try:
        messages = to_messages(row, "f line 1", told)
    except UserError as error:
        assert str(error).startswith("f line 1")
        return
    for read in messages:
        assert set(read) == {"role", "content"}
        read["content"].encode()
    assert messages[-1]["role"] == "assistant" and messages[-1]["content"].strip()
    "".join(told.lines("k")).encode()
    json.dumps(told.counts(), ensure_ascii=False, allow_nan=False).encode()


@given(rows, st.sampled_from(own_prompts()))
@settings(max_examples=200, deadline=None)
def test_a_prompt_is_read_or_refused_in_one_line(row: dict[str, Any], suite: str) -> None:
    # Any row is refused with its line or becomes a prompt with an id, even with half a character in it.
    try:
        (made,) = with_ids([("s", SUITES.get(suite, "eval.data").prompt(row, "f line 1"))])
    except UserError as error:
        assert str(error).startswith("f line 1")
        return
    assert made["id"]
    json.dumps(made, ensure_ascii=False).encode()


@given(rows)
@settings(max_examples=200, deadline=None)
def test_every_row_can_be_given_back(row: dict[str, Any]) -> None:
    # Any row can be written as a line of JSON.
    assert json.loads(to_line(row)) is not None


@given(st.lists(st.tuples(any_text, any_text.filter(str.strip)), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_records_of_any_texts_survive_their_file(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    # Records of any texts are read back as they were written, and rows that differ have ids that differ.
    read = [to_messages({"prompt": prompt, "completion": answer}, "x") for prompt, answer in pairs]
    records = list(make_records((messages, "s", None) for messages in read))
    path = tmp_path_factory.mktemp("records") / "r.jsonl"
    write_records(path, records)
    assert list(read_records(path)) == records
    assert len({record.id for record in records}) == len(records)
    texts = [tuple(message["content"] for message in messages) for messages in read]
    assert len(set(texts)) == len({record.id[:64] for record in records})


@given(st.binary(max_size=60), st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".jsonl.gz"]))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_rows_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str) -> None:
    # Any bytes are read as rows or refused with a line that begins with the file.
    path: Path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    try:
        assert all(isinstance(row, dict) for _, row in read_rows(SourceConfig(path=str(path)), "k"))
    except UserError as error:
        assert str(error).startswith(str(path))


def test_dates_are_written_as_iso_8601() -> None:
    # A date, as a Parquet column may hold one, becomes a text of ISO 8601.
    when = datetime.datetime(2024, 1, 2, 3, 4, tzinfo=datetime.UTC)
    assert to_messages({"prompt": when.date(), "completion": when}, "x")[-1]["content"] == "2024-01-02T03:04:00+00:00"
