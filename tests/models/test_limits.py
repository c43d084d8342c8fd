import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from forgetfilter.data.records import Message, make_records, write_records
from forgetfilter.data.token_files import Prepared
from forgetfilter.data.tokenising import SCHEMA
from forgetfilter.errors import UserError
from forgetfilter.models.limits import NO_LIMIT, Limits, check_tokens, fit_tokenizer
from forgetfilter.models.loading import load_tokenizer
from forgetfilter.models.prepare import prepare_tokens
from forgetfilter.models.settings import ModelSettings

DATA = Path("noisy.jsonl")


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    """Of the model with 320 embeddings and 512 positions."""
    return load_tokenizer(tiny_model, None)


@pytest.mark.parametrize(("pad", "vocabulary", "expected"), [
    ("[PAD]", 305, "<|im_end|>"), ("[PAD]", 306, "[PAD]"), (None, 320, "<|im_end|>"),
])  # fmt: skip
def test_a_pad_token_beyond_the_embeddings_is_replaced(
    tokenizer: Any, pad: str | None, vocabulary: int, expected: str
) -> None:
    # Padding is masked by position, so that the end token pads where the tokenizer's own pad token (here number 305,
    # an added one) has no embedding, or where there is none; a pad token that has one stays.
    tokenizer.pad_token = None
    if pad:
        tokenizer.add_special_tokens({"pad_token": pad})
        assert tokenizer.pad_token_id == 305
    fit_tokenizer(tokenizer, Limits(512, vocabulary))
    assert tokenizer.pad_token == expected and tokenizer.pad_token_id < vocabulary


def test_an_end_token_beyond_the_embeddings_is_refused(tokenizer: Any) -> None:
    # Every answer ends with it, so one line names the token and its number before any row is read.
    tokenizer.add_special_tokens({"eos_token": "[END]"})
    line = "model.name: token '[END]' has the number 305, but the model has 305 embeddings: take the tokenizer"
    with pytest.raises(UserError, match=f"^{re.escape(line)}"):
        fit_tokenizer(tokenizer, Limits(512, 305))
    fit_tokenizer(tokenizer, Limits(512, 306))


def test_the_tokenizer_knows_the_models_context(tokenizer: Any) -> None:
    # A tokenizer's own length is often far from the model's, and rows are cut to this one.
    fit_tokenizer(tokenizer, Limits(64, NO_LIMIT))
    assert tokenizer.model_max_length == 64


def prepared(path: Path, *blocks: list[list[int]]) -> Prepared:
    """Tokenised rows in the blocks in which a file holds them."""
    with pa.ipc.new_file(str(path), SCHEMA) as writer:
        for rows in blocks:
            columns = [[""] * len(rows), [""] * len(rows), rows, [[0, 1]] * len(rows), [False] * len(rows)]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA)]
            writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
    return Prepared(path, "", {})


@pytest.mark.parametrize(("blocks", "line"), [
    ([[[320], [1]]], 1), ([[[1, 2], [], [3, 319, 320]]], 3), ([[[1], [2]], [[3], [4, 5], [6, 320], [999]]], 5),
])  # fmt: skip
def test_the_first_row_beyond_the_embeddings_is_named(
    tmp_path: Path, tokenizer: Any, blocks: list[list[list[int]]], line: int
) -> None:
    # The line counts over the blocks and over rows without tokens; 319 is the last of 320 embeddings.
    tokenizer.add_tokens([f"<{number}>" for number in range(len(tokenizer), 321)])
    with pytest.raises(UserError, match=f"^noisy.jsonl line {line}: token '<320>' has the number 320, .* has 320 emb"):
        check_tokens(prepared(tmp_path / "data.arrow", *blocks), tokenizer, DATA, Limits(512, 320))
    check_tokens(prepared(tmp_path / "data.arrow", *blocks), tokenizer, DATA, Limits(512, 1000))


def asked(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize("where", ["row", "template"])
def test_an_added_token_in_a_row_or_the_template_is_refused(
    tmp_path: Path, tiny_model: Path, tokenizer: Any, where: str
) -> None:
    # Tokens that were added without resizing the model are refused, by the row, when the data are prepared: before
    # anything is trained.
    tokenizer.add_tokens([f"<{number}>" for number in range(len(tokenizer), 320)] + ["<new>"])
    answers = ["one", "two <new>" if where == "row" else "two", "three"]
    rows = [asked("count", answer) for answer in answers]
    write_records(tmp_path / "noisy.jsonl", make_records((row, "toy", None) for row in rows))
    if where == "template":
        tokenizer.chat_template = "<new>" + tokenizer.chat_template
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer.save_pretrained(folder)
    model = ModelSettings(str(folder), None, None, "float32", "sdpa", False, tmp_path / "cache")
    line = 2 if where == "row" else 1
    with pytest.raises(UserError, match=rf"noisy\.jsonl line {line}: token '<new>' has the number 320"):
        prepare_tokens(model, tmp_path / "noisy.jsonl", 128)
