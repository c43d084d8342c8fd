import json
from pathlib import Path
from typing import Any

import pytest

from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.survey import Survey, estimated_tokens, survey
from forgetfilter.errors import UserError


def looked(folder: Path, rows: list[dict[str, Any]]) -> Survey:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return survey(SourceConfig(str(path)), "FILE rows.jsonl", estimated_tokens)


def chat(*texts: str) -> dict[str, Any]:
    roles = ("user", "assistant") * len(texts)
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, texts)]}


def test_what_is_in_a_source_is_counted(tmp_path: Path) -> None:
    # Shapes, roles, rows with several answers, duplicates, scripts, lengths and labels are counted as by hand.
    found = looked(
        tmp_path, [chat("ab", "cd"), chat("ab", "cd"), chat("a", "b", "c", "дд"), {"text": "e", "label": "safe"}]
    )
    assert found.shapes == {"messages": 3, "text": 1} and found.roles == {"user": 4, "assistant": 5}
    assert found.answers == {1: 3, 2: 1} and len(found.distinct) == 3 and found.labels == 1
    assert found.scripts == {"latin": 12, "cyrillic": 2}
    assert found.lengths == [2, 2, 4, 1] and found.longer_than(2) == 1 and found.length_at(1.0) == 4


def test_columns_are_proposed_for_rows_of_other_names(tmp_path: Path) -> None:
    # The survey proposes the columns that the error of the mix stage would name.
    found = looked(tmp_path, [{"question": "a", "answer": "b"}])
    assert found.source.columns == {"prompt": "question", "completion": "answer"} and found.refused == 0


def test_rows_that_the_mix_would_refuse_are_counted_with_the_first_reason(tmp_path: Path) -> None:
    # Bad rows are counted and end no survey, and if no row can be read the first reason ends it.
    found = looked(tmp_path, [{"text": "a"}, {"text": None}, {"prompt": "x"}])
    assert found.refused == 2 and "rows.jsonl line 2" in found.first_refusal
    with pytest.raises(UserError, match=r"line 1: needs messages"):
        looked(tmp_path, [{"prompt": "x"}])


def test_the_same_rows_are_drawn_each_time_and_none_twice(tmp_path: Path) -> None:
    # The seed fixes the draw, duplicates count once, and no more is drawn than there is.
    found = looked(tmp_path, [{"text": str(number % 5)} for number in range(20)])
    assert found.drawn(3, 0) == found.drawn(3, 0) and len(found.drawn(9, 0)) == 5


def test_tokens_are_estimated_by_the_writing() -> None:
    # Four ASCII characters, or one other character, count as a token.
    assert estimated_tokens("abcdefgh") == 2 and estimated_tokens("ab") == 1 and estimated_tokens("漢字 a") == 3
