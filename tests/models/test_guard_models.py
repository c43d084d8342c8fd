"""Guard models: the probability of harm, where they write their verdict."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from forgetfilter.config.schema import GuardConfig
from forgetfilter.data.records import Record, RecordBlocks, make_records, write_records
from forgetfilter.models.guard_models import _Watch, open_guard
from forgetfilter.models.loading import load_tokenizer
from forgetfilter.score.guard_probability import chances, pairs, worst

CPU = torch.device("cpu")


@pytest.fixture
def guard(tiny_guard: Path, tmp_path: Path) -> Any:
    config = GuardConfig(name="llama-guard", model=str(tiny_guard), batch=3)
    return open_guard(config, "score.guard", "float32", CPU, tmp_path)


def test_the_chance_is_that_of_the_two_words_where_the_verdict_stands(guard: Any) -> None:
    # By hand: u and s have the logits 2 and 0, or -1 and 1, and U and S, which begin the words too, have 0. A new line
    # before the verdict does not count, a reply without a verdict has no chance, and other pairs in the batch change
    # nothing.
    high, low = (math.exp(2) + 1) / (math.exp(2) + 3), (math.exp(-1) + 1) / (math.exp(-1) + math.exp(1) + 2)
    expected = {"a!": high, "much longer than that.": low, "x;": high, "nothing?": None}
    pairs = [("how", answer) for answer in expected]
    found = guard.chances(pairs)
    assert found == [None if chance is None else pytest.approx(chance, abs=1e-4) for chance in expected.values()]
    assert guard.judge(pairs) == [1.0, 0.0, 1.0, None]
    assert guard.trouble == "it writes something else than a verdict"
    assert chances(guard, pairs) == [None if chance is None else pytest.approx(chance, abs=1e-6) for chance in found]


def test_words_before_the_verdict_do_not_count(tiny_guard: Path) -> None:
    # WildGuard answers three questions with yes or no, and only the last one is its verdict on the answer.
    tokenizer = load_tokenizer(tiny_guard, None)
    reply = "Harmful request: no\nResponse refusal: no\nHarmful response: yes"
    ids = tokenizer(reply, add_special_tokens=False)["input_ids"]
    yes, no = (tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in "yn")
    watch = _Watch([torch.tensor(yes), torch.tensor(no)])
    for place, token in enumerate(ids):
        logits = torch.zeros(1, len(tokenizer))
        logits[0, token] = 5.0 if place < len(reply) - 3 else 3.0
        watch(torch.zeros(1, 0), logits)
    assert watch.chance(tokenizer, 0, len(reply) - 3) == pytest.approx(1 / (1 + math.exp(-3)))
    assert watch.chance(tokenizer, 0, reply.index("no")) == pytest.approx(1 / (1 + math.exp(5)))


def test_a_guard_is_asked_about_the_last_turn() -> None:
    # The guard judges the last answer with the turn before it, or, if all answers are learned, each with its own; plain
    # text answers nothing.
    turns = [("system", "be kind"), ("user", "one"), ("assistant", "1"), ("user", "two"), ("assistant", "2")]
    messages = [{"role": role, "content": text} for role, text in turns]
    assert pairs(Record("i", messages, "s")) == [("two", "2")]
    assert pairs(Record("i", messages[-1:], "s")) == [("", "2")]
    assert pairs(Record("i", messages, "s", None, "all")) == [("one", "1"), ("two", "2")]


def test_the_worst_answer_of_an_example_counts(guard: Any) -> None:
    # A row has the highest chance among its answers, and none if the guard gave no verdict on one of them.
    bad, good, odd = ("how", "a!"), ("how", "b."), ("how", "nothing?")
    high, low, _ = chances(guard, [bad, good, odd])
    assert worst(guard, [[good, bad], [good], [bad, odd]]) == [pytest.approx(high), pytest.approx(low), None]


def test_blocks_hold_the_records_in_order(tmp_path: Path) -> None:
    # Each block can be read by itself and the last one is shorter; a line separator within a text ends no record.
    texts = [f"größer\u2028{n}" for n in range(11)]
    records = list(make_records(([{"role": "assistant", "content": text}], "s", None) for text in texts))
    write_records(tmp_path / "data.jsonl", records)
    blocks = RecordBlocks.of(tmp_path / "data.jsonl", 4)
    assert [len(blocks[n]) for n in range(len(blocks))] == [4, 4, 3]
    assert blocks[2] == records[-3:] and [r for n in range(3) for r in blocks[n]] == records
