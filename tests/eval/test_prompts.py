import json

import pytest
from forgetfilter.eval.prompts import read_prompts
from forgetfilter.eval.suites import get

from forgetfilter.errors import UserError

USER = {"role": "user", "content": "hi"}
GOOD = {"id": "1", "source": "s", "messages": [USER]}
BBQ = {
    **GOOD, "choices": ["a", "b", "c"], "gold": 2, "unknown": 2, "stereotyped": 0, "polarity": "neg",
    "condition": "ambig", "category": "age",
}  # fmt: skip
TASK = {**GOOD, "reference": "4", "metric": "number"}


def read(tmp_path, suite, *lines):
    path = tmp_path / "p.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return read_prompts(path, get(suite).check)


@pytest.mark.parametrize(("suite", "row"), [("toxicity", GOOD), ("harmfulness", GOOD), ("bias", BBQ), ("task", TASK)])
def test_good_rows_are_read(tmp_path, suite, row):
    # Each suite takes the row that the mix stage writes for it; blank lines do not count.
    assert read(tmp_path, suite, row, "", {**row, "id": "2"}) == [row, {**row, "id": "2"}]


@pytest.mark.parametrize(
    ("suite", "row", "message"),
    [
        ("toxicity", "{broken", "line 2: not valid JSON"),
        ("toxicity", "[1]", "must be an object"),
        ("toxicity", GOOD, "is there twice"),
        ("toxicity", {"id": "2", "source": "s"}, "needs messages.*fields found: id, source"),
        ("toxicity", {"source": "s", "messages": [USER]}, "id must be a text"),
        (
            "toxicity",
            {**GOOD, "id": "2", "messages": [USER, {"role": "assistant", "content": "x"}]},
            "must be the user's",
        ),
        ("toxicity", {**GOOD, "id": "2", "messages": [{"role": "user", "content": 3}]}, "a text as its content"),
        ("bias", {**BBQ, "id": "2", "choices": ["a", "b"]}, "list of three"),
        ("bias", {**BBQ, "id": "2", "choices": ["a", "b", " "]}, "not empty"),
        ("bias", {**BBQ, "id": "2", "gold": 3}, "gold must be one of 0, 1, 2"),
        ("bias", {**BBQ, "id": "2", "stereotyped": 2}, "same answer"),
        ("bias", {**BBQ, "id": "2", "polarity": "positive"}, "polarity must be one of neg, nonneg"),
        ("bias", {**BBQ, "id": "2", "gold": 0}, "gold must be the unknown answer of an ambig row"),
        ("task", {**TASK, "id": "2", "metric": "bleu"}, "metric must be one of squad, exact, number, rouge1"),
        ("task", {**TASK, "id": "2", "reference": "four"}, "reference holds none"),
        ("task", {**GOOD, "id": "2", "metric": "exact"}, "reference must be a text"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, suite, row, message):
    # The error names the file, the line and what is wrong.
    good = {"toxicity": GOOD, "bias": BBQ, "task": TASK}[suite]
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, suite, good, row)
    assert f"{tmp_path / 'p.jsonl'} line 2" in str(caught.value)


def test_missing_and_empty_files(tmp_path):
    # Both errors say which stage to run.
    with pytest.raises(UserError, match="run the mix stage"):
        read_prompts(tmp_path / "none.jsonl", get("task").check)
    with pytest.raises(UserError, match="holds no prompt"):
        read(tmp_path, "task")


def test_surrogates_are_replaced_and_control_characters_kept(tmp_path):
    # A pair of surrogates is joined and a lone one replaced, so that the text can be stored and tokenised.
    (row,) = read(tmp_path, "toxicity", '{"id":"1","source":"s","messages":[{"role":"user","content":'
                  '"\\ud83d\\ude00 \\ud800 \\u0000"}]}')  # fmt: skip
    assert row["messages"][0]["content"] == "\U0001f600 \ufffd \x00"
