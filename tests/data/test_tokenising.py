from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forgetfilter.data import token_files, tokenising
from forgetfilter.data.records import make_records, write_records
from forgetfilter.data.token_files import prepare, taken
from forgetfilter.data.tokenising import tokenised
from forgetfilter.errors import Stopped, UserError
from forgetfilter.models.loading import load_tokenizer
from forgetfilter.process import interrupts

FAILS = "{% if 'refused' in messages[0]['content'] %}{{ raise_exception('not this one') }}{% endif %}"


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(tiny_model, None)


def rows(path: Path, questions: list[str]) -> Path:
    chats = ([{"role": "user", "content": q}, {"role": "assistant", "content": "the mat"}] for q in questions)
    write_records(path, make_records((chat, "s", None) for chat in chats))
    return path


def test_processes_make_the_file_that_one_makes(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several processes make the bytes that one makes, in the order of the rows; the first row that the template refuses
    # is named by its line, and a signal stops them.
    monkeypatch.setattr(tokenising, "CHUNK", 3)
    path = rows(tmp_path / "d.jsonl", [f"the cat {'sat ' * (n % 7)}{n}" for n in range(100)])
    monkeypatch.setattr(tokenising, "MANY", 10**9)
    alone = prepare(path, tokenizer, 40, tmp_path / "alone")
    monkeypatch.setattr(tokenising, "MANY", 2)
    monkeypatch.setattr(token_files, "tokenised", lambda *given: tokenised(*given, processes=2))
    together = prepare(path, tokenizer, 40, tmp_path / "together")
    assert together.path.read_bytes() == alone.path.read_bytes() and together.summary == alone.summary
    tokenizer.chat_template = FAILS + tokenizer.chat_template
    path = rows(path, ["refused" if n in (50, 90) else f"the cat {n}" for n in range(100)])
    with pytest.raises(UserError, match=r"d.jsonl line 51 \(source s\): model.chat_template: .*not this one"):
        prepare(path, tokenizer, 40, tmp_path / "together")
    monkeypatch.setattr(interrupts, "noted", lambda: True)
    with pytest.raises(Stopped, match=r"tokenising .*d.jsonl was stopped by a signal"):
        prepare(rows(path, ["the cat"] * 100), tokenizer, 40, tmp_path / "together")


def test_rows_are_taken_over_chunks_in_any_order() -> None:
    # The rows are those of Arrow's own take, which joins the whole column first.
    column = pa.chunked_array([["a", "b"], ["c"], ["d", "e"]])
    assert taken(column, np.array([4, 0, 2, 2])).to_pylist() == ["e", "a", "c", "c"]
    assert taken(column, np.array([], dtype=np.int64)).to_pylist() == []
