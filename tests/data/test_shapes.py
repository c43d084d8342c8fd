from typing import Any

import pytest

from forgetfilter.data.records import content_id
from forgetfilter.data.shapes import OTHER_NAMES, to_messages
from forgetfilter.data.told import MOST, REST, Told
from forgetfilter.data.values import LONGEST
from forgetfilter.errors import UserError

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SYSTEM = [{"role": "system", "content": "s"}]
EARLIER = [{"role": "user", "content": "q0"}, {"role": "assistant", "content": "a0"}]


def refused(row: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        to_messages(row, "f line 3")
    assert str(caught.value).startswith("f line 3: ")
    return str(caught.value)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CHAT},
        {"prompt": "q", "completion": "a"},
        {"prompt": CHAT[:1], "completion": CHAT[1:]},
        {"instruction": "q", "input": "", "output": "a"},
        {"instruction": "q", "output": "a"},
    ],
)
def test_the_shapes_give_the_same_messages(row: dict[str, Any]) -> None:
    # One question and its answer give the same messages, whatever the columns are called.
    assert to_messages(row, "x") == CHAT


def test_alpaca_input_and_plain_text() -> None:
    # The input follows the instruction after a blank line, and a plain text is one answer without a prompt.
    assert to_messages({"instruction": "q", "input": "i", "output": "a"}, "x")[0]["content"] == "q\n\ni"
    assert to_messages({"text": "t"}, "x") == [{"role": "assistant", "content": "t"}]


def test_missing_fields_are_told_with_those_found() -> None:
    # The error lists the fields that were found, without empty ones.
    with pytest.raises(UserError, match=r"f line 3: needs messages.*fields found: id, question$"):
        to_messages({"question": "q", "id": 1, "text": None}, "f line 3")


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"conversations": [{"from": "Human ", "value": "q"}, {"from": "ASSISTANT", "value": "a"}]},
        {"conversations": [{"role": "user", "content": "q"}, {"role": "model", "content": "a"}], "messages": None},
        {"messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, CHAT[1]]},
        {
            "messages": [
                {"role": "user", "content": ["q"]},
                {"role": "assistant", "content": {"type": "text", "text": "a"}},
            ]
        },
        {"messages": [CHAT[0], {"role": "assistant", "content": None, "refusal": "a"}]},
        {"prompt": CHAT[:1], "completion": "a"},
        {"prompt": "q", "completion": CHAT[1:]},
        {"prompt": "q", "completion": CHAT[1]},
        {"prompt": b"q", "completion": b"a"},
        {"instruction": "q", "input": float("nan"), "output": "a", "system": None, "history": []},
        {"instruction": "q", "input": None, "output": "a", "system": "", "tools": "[]"},
    ],
)
def test_further_forms_of_the_same_chat(row: dict[str, Any]) -> None:
    # ShareGPT, content in parts, JSON in a cell, bytes of a Parquet file, and fields that hold nothing give the same
    # messages.
    assert to_messages(row, "x") == CHAT


@pytest.mark.parametrize(
    ("given", "text"),
    [(0, "0"), (False, "false"), (True, "true"), (1.5, "1.5"), (["b", None], '["b", null]'), ({"é": 1}, '{"é": 1}')],
)
def test_values_that_are_no_text_are_kept(given: object, text: str) -> None:
    # A value that is no text is written as JSON in every field that is a text, never in Python's notation, and it is
    # counted.
    told = Told()
    asked = to_messages({"instruction": "q", "input": given, "output": given}, "x", told)
    assert [message["content"] for message in asked] == [f"q\n\n{text}", text]
    assert to_messages({"prompt": given, "completion": given}, "x")[0]["content"] == text
    assert to_messages({"text": given}, "x")[0]["content"] == text
    assert told.counts() == {"rewritten": {"input": 1, "output": 1}}


@pytest.mark.parametrize("nothing", [None, float("nan")])
@pytest.mark.parametrize("name", ["instruction", "output", "prompt", "completion", "text", "messages"])
def test_a_missing_value_is_refused_by_its_name(nothing: object, name: str) -> None:
    # None and NaN, with which tables mark a missing value, are never learned as a text.
    row = (
        {"instruction": "q", "output": "a"} if name in ("instruction", "output") else {"prompt": "q", "completion": "a"}
    )
    row = {key: value for key, value in row.items() if name not in ("text", "messages")} | {name: nothing}
    assert f"({name} without a value)" in refused(row)


@pytest.mark.parametrize("value", [float("inf"), [float("nan")], b"\xff", {1, 2}, [b"a"]])
def test_a_value_that_stands_for_no_text_is_refused(value: object) -> None:
    # A value without a text is refused with its field, in every shape.
    assert "completion holds" in refused({"prompt": "q", "completion": value})
    assert "output holds" in refused({"instruction": "q", "output": value})
    assert "the content of message 2" in refused({"messages": [CHAT[0], {"role": "assistant", "content": value}]})


def test_system_history_and_tools_are_part_of_the_prompt() -> None:
    # Rows that differ only in system text, history or tools are no duplicates; history may be pairs, messages, or JSON
    # in a cell.
    alpaca = {"instruction": "q", "input": "", "output": "a"}
    whole = SYSTEM + EARLIER + CHAT
    for history in ([["q0", "a0"]], EARLIER, '[["q0", "a0"]]'):
        assert to_messages(alpaca | {"system": "s", "history": history}, "x") == whole
    assert to_messages({"prompt": "q", "completion": "a", "system": "s", "history": [("q0", "a0")]}, "x") == whole
    assert to_messages({"conversations": CHAT, "system": "s"}, "x") == SYSTEM + CHAT
    assert to_messages({"messages": SYSTEM + CHAT, "system_prompt": "s"}, "x") == SYSTEM + CHAT
    tools = to_messages({"messages": SYSTEM + CHAT, "tools": [{"name": "f"}]}, "x")
    assert tools == [{"role": "system", "content": 's\n\n# Tools\n<tools>\n[{"name": "f"}]\n</tools>'}, *CHAT]
    rows = [
        alpaca,
        alpaca | {"system": "s"},
        alpaca | {"history": [["q0", "a0"]]},
        alpaca | {"tools": '[{"name": "f"}]'},
    ]
    assert len({content_id(to_messages(row, "x")) for row in rows}) == 4
    assert "several system texts that differ" in refused({"messages": SYSTEM + CHAT, "system": "t"})
    assert "history must be a list of pairs" in refused(alpaca | {"history": [["q0"]]})
    assert "history must be a list" in refused(alpaca | {"history": "before"})


def answer(**fields: Any) -> str:
    return to_messages({"messages": [CHAT[0], {"role": "assistant", **fields}]}, "f line 3")[-1]["content"]


def test_tool_calls_are_written_into_the_answer() -> None:
    # Calls are written in the form of Hermes; their arguments are an object or its JSON, and the content beside them
    # may be null or missing.
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": "é"}'}}
    text = '<tool_call>\n{"name": "f", "arguments": {"x": "é"}}\n</tool_call>'
    assert (
        answer(content=None, tool_calls=[call]) == text == answer(tool_calls=[{"name": "f", "arguments": {"x": "é"}}])
    )
    assert answer(content="Done.", tool_calls=[call, call]) == f"Done.\n{text}\n{text}"
    assert answer(content="", function_call={"name": "f", "arguments": '{"x": "é"}'}) == text
    assert (
        answer(content=None, tool_calls=[{"name": "f"}]) == '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    )
    turns = [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {"x": "é"}}'},
    ]
    assert to_messages({"conversations": turns}, "x")[-1] == {"role": "assistant", "content": text}
    told = Told()
    to_messages({"messages": [CHAT[0], {"role": "assistant", "content": None, "tool_calls": [call]}]}, "x", told)
    assert told.counts() == {"rewritten": {"tool_calls": 1}}
    with pytest.raises(UserError, match=r"f line 3: tool_calls of message 2 must be a list"):
        answer(content="a", tool_calls="none")


def test_reasoning_is_written_before_the_answer() -> None:
    # Reasoning stands in <think> before the answer, as DeepSeek and Qwen write it.
    assert answer(content="a", reasoning_content="hm\n") == "<think>\nhm\n</think>\n\na"


@pytest.mark.parametrize("said", [{"weight": 0}, {"weight": 0.0}, {"weight": "0"}, {"train": False}, {"loss": False}])
def test_an_answer_that_is_not_to_be_learned_is_refused(said: dict[str, Any]) -> None:
    # A row whose last answer has no weight has nothing to learn and is refused; an earlier answer may have none.
    name = next(iter(said))
    assert f"the last message has {name}" in refused({"messages": [CHAT[0], CHAT[1] | said]})
    assert "is not to be learned" in refused({"prompt": "q", "completion": [CHAT[1] | said]})
    told = Told()
    assert to_messages({"messages": [CHAT[0], CHAT[1] | said, *CHAT]}, "x", told) == CHAT * 2
    assert told.counts() == {"left_out": {f"{name} of messages": 1}}


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "tool_use"])
def test_parts_that_are_no_text_are_refused_by_name(kind: str) -> None:
    # A part that is no text is refused, because a row without its picture would be another row.
    parts = [{"type": "text", "text": "q"}, {"type": kind, kind: {}}]
    said = refused({"messages": [{"role": "user", "content": parts}, CHAT[1]]})
    assert f"the content of message 1 has a part of type '{kind}', which is no text" in said


def test_every_other_field_is_counted() -> None:
    # A field that is not learned is counted once a row, but not if it is empty or the mix stage reads it.
    told = Told()
    for more in ({"score": 0, "name": ""}, {"score": 2, "prompt": "p", "source": "s", "label": "safe", "n": None}):
        to_messages({"messages": [CHAT[0] | {"name": "pat"}, CHAT[1]], **more}, "x", told)
    assert told.counts() == {"left_out": {"name of messages": 2, "prompt": 1, "score": 2}}
    said = "data.noisy.x: not learned (rows): name of messages (2), score (2), prompt (1)"
    assert told.lines("data.noisy.x") == [said]


def test_names_of_fields_can_stand_in_any_file_and_do_not_grow_without_end() -> None:
    # Half a character or a line end in a field's name is replaced, and above MOST names the rest is counted together.
    told = Told()
    to_messages({"text": "a", "\ud800\r": 1}, "x", told)
    assert told.counts() == {"left_out": {"\ufffd\ufffd": 1}}
    for number in range(3000):
        told.add({f"n{number}"}, set())
    assert len(told.left_out) == MOST + 1 and told.left_out[REST] == 2001


@pytest.mark.parametrize("names", OTHER_NAMES)
def test_other_names_are_told_with_the_columns_that_help(names: tuple[str, ...]) -> None:
    # The error gives the setting that makes the row readable.
    columns = ", ".join(f"{wanted}: {name}" for wanted, name in OTHER_NAMES[names].items())
    assert f"set columns: {{{columns}}} on this source" in refused(dict.fromkeys(names, "x"))


def test_a_text_beyond_any_example_is_refused() -> None:
    # A text over which a tokenizer would take hours is refused, and so are many long turns together.
    half = "a" * (LONGEST // 2 + 1)
    assert "characters, at most" in refused({"text": half * 2})
    assert "characters, at most" in refused({"prompt": half, "completion": half})


WHOLE = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
PAIRS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "a", "chosen": "b", "rejected": "c"}, "{completion: chosen}"),
    ({"prompt": "a", "chosen": [{"role": "assistant", "content": "b"}], "rejected": []}, "{completion: chosen}"),
    (
        {"prompt": "a", "chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        "{messages: chosen}",
    ),
    ({"chosen": WHOLE}, "{messages: chosen}"),
    ({"chosen": "Human: a", "rejected": "Human: b"}, "{text: chosen}"),
]


@pytest.mark.parametrize(("row", "columns"), PAIRS, ids=[columns for _, columns in PAIRS])
def test_of_a_pair_of_answers_the_error_names_the_column_to_take(row: dict[str, Any], columns: str) -> None:
    # The error gives the setting that takes one of two answers, and with it the row is read.
    assert f"set columns: {columns} on this source" in refused(row)
    wanted = columns.strip("{}").split(": ")[0]
    assert to_messages(row | {wanted: row["chosen"]}, "here")[-1]["role"] == "assistant"
