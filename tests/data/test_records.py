from pathlib import Path
from typing import Any

import pytest

from forgetfilter.data.records import Record, RecordBlocks, content_id, make_records, read_records, write_records
from forgetfilter.data.shapes import to_messages
from forgetfilter.errors import UserError

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def test_the_id_is_golden() -> None:
    # The id is what printf '[["user","q"],["assistant","ä"]]' | sha256sum prints.
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "ä"}]
    assert content_id(messages) == "809afe01f08464fe7b3025fac89b82aa2816a0dfd09a2c0de282f99928e2595f"


def test_exact_duplicates_are_numbered_in_order() -> None:
    # The same messages three times have ID, ID-1 and ID-2, and another row between them keeps its own id.
    other = [{"role": "assistant", "content": "b"}]
    ids = [r.id for r in make_records([(CHAT, "s", None), (other, "s", None), (CHAT, "t", "safe"), (CHAT, "s", None)])]
    first = content_id(CHAT)
    assert ids == [first, content_id(other), f"{first}-1", f"{first}-2"]


def test_records_survive_the_file(tmp_path: Path) -> None:
    # Line separators within a text, which JSON leaves as they are, do not break a record's line.
    records = list(make_records([([{"role": "assistant", "content": "a\u2028b\x85c\n"}], "s", "task")]))
    assert write_records(tmp_path / "r.jsonl", records) == 1
    assert list(read_records(tmp_path / "r.jsonl")) == records


def test_a_failing_source_leaves_the_old_file(tmp_path: Path) -> None:
    # An error half way leaves the old file as it was and no temporary file.
    path = tmp_path / "r.jsonl"
    path.write_text("old")

    def rows() -> Any:
        yield from make_records([(CHAT, "s", None)])
        raise UserError("broken")

    with pytest.raises(UserError, match="broken"):
        write_records(path, rows())
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_missing_file_says_which_stage_writes_it(tmp_path: Path) -> None:
    # The error of a missing file says to run the stage that writes it.
    with pytest.raises(UserError, match="run the stage that writes it first"):
        list(read_records(tmp_path / "none.jsonl"))


def test_a_lone_surrogate_becomes_a_replacement_character() -> None:
    # Half an emoji, which JSON can escape, cannot be written, hashed or tokenised, so it is replaced when it is read.
    messages = to_messages({"prompt": "a\ud83d", "completion": "\ud83d\ude00"}, "x")
    assert [message["content"] for message in messages] == ["a\ufffd", "\U0001f600"]
    assert content_id(messages)


def test_only_rows_of_several_answers_say_which_are_learned(tmp_path: Path) -> None:
    # A row of one answer has the line that it had before there was a choice, so that stages stay done; a line that does
    # not say which answers are learned, as in older run folders, means the last one.
    both = [([*CHAT, *CHAT], "s", None), (CHAT, "s", None)]
    lines = {}
    for learn in ("all", "last"):
        write_records(tmp_path / "r.jsonl", make_records(both, learn))
        lines[learn] = (tmp_path / "r.jsonl").read_text().splitlines()
        answers = [record.answers for record in read_records(tmp_path / "r.jsonl")]
        assert answers == [["a", "a"] if learn == "all" else ["a"], ["a"]]
    assert lines["all"][0] == lines["last"][0].replace('"label": null', '"label": null, "learn": "all"')
    assert lines["all"][1] == lines["last"][1] and '"learn"' not in lines["last"][0]


def test_what_is_not_learned_is_context() -> None:
    # A turn that is nothing but calls is context, as are the turns of other roles.
    call = {"role": "assistant", "content": "<tool_call>\n{}\n</tool_call>"}
    record = Record("i", [CHAT[0], call, {"role": "tool", "content": "7"}, *reversed(CHAT), CHAT[1]], "s", None, "all")
    assert (record.context, record.answers, record.answer) == (["q", call["content"], "7", "q"], ["a", "a"], "a")
    assert Record("i", record.messages, "s").answers == ["a"]
    assert record.leaves_answers and not Record("i", [*CHAT, *CHAT], "s", None, "all").leaves_answers
    assert Record("i", [*CHAT, *CHAT], "s").leaves_answers and not Record("i", CHAT, "s").leaves_answers


def test_a_line_of_a_block_that_is_none_is_named(tmp_path: Path) -> None:
    # A broken line is named by its number in the file and not in the block.
    path = tmp_path / "r.jsonl"
    write_records(path, make_records([([{"role": "assistant", "content": str(n)}], "s", None) for n in range(5)]))
    path.write_text("\n".join([*path.read_text().splitlines()[:3], '{"id": ', "{}"]) + "\n")
    blocks = RecordBlocks.of(path, 2)
    assert len(blocks[0]) == 2
    with pytest.raises(UserError, match=r"line 4: no whole record"):
        blocks[1]
