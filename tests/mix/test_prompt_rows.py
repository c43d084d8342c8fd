from typing import Any

import pytest

from forgetfilter.config.registry import SUITES
from forgetfilter.errors import UserError
from forgetfilter.mix.benchmarks.prompts import Prompt, with_ids


def prompt_row(suite: str, row: dict[str, Any], where: str) -> Prompt:
    return SUITES.get(suite, "eval.data").prompt(row, where)


ASK = [{"role": "user", "content": "q"}]
SCORED = {"choices": ["a", "b", "c"], "gold": 0, "unknown": 0, "stereotyped": 1, "polarity": "neg"}
BIAS = {"prompt": "q", **SCORED, "condition": "ambig"}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": ASK},
        {"messages": [*ASK, {"role": "assistant", "content": "a"}]},
        {"prompt": "q"},
        {"prompt": ASK, "completion": "a"},
        {"instruction": "q", "input": "", "output": "a"},
        {"text": "q"},
    ],
)
def test_every_usual_shape_gives_the_turns_to_be_answered(row: dict[str, Any]) -> None:
    # Each shape gives the same turns, without an answer that the row may have.
    assert prompt_row("harmfulness", row, "f") == {"messages": ASK}


def test_a_plain_text_gives_toxicity_its_first_three_words() -> None:
    # The prompt is the first three words of the text, as in training.
    assert prompt_row("toxicity", {"text": "a b c d"}, "f")["messages"][0]["content"] == "a b c"


def test_a_task_takes_its_reference_from_the_row() -> None:
    # The reference is the row's own column or otherwise its answer, and the metric is given or follows from the form of
    # the answer.
    assert prompt_row("task", {"prompt": "q", "completion": "yes"}, "f") == {
        "messages": ASK,
        "reference": "yes",
        "metric": "exact",
    }
    row = prompt_row("task", {"prompt": "q", "reference": "x", "metric": "rouge1"}, "f")
    assert (row["reference"], row["metric"]) == ("x", "rouge1")


def test_bias_keeps_what_the_scores_need() -> None:
    # A category is optional, and every other field is kept as it is given.
    assert prompt_row("bias", BIAS, "f") == {
        "messages": ASK,
        **SCORED,
        "condition": "ambig",
        "category": "",
    }


def test_ids_are_of_the_content_and_number_duplicates() -> None:
    # Ids of prompts follow the rule for records: the content, and an ordinal for duplicates.
    first, second, other = with_ids([("s", {"messages": ASK}), ("s", {"messages": ASK}), ("t", {"messages": ASK * 2})])
    assert second["id"] == f"{first['id']}-1"
    assert other["id"] not in (first["id"], second["id"])
    assert other["source"] == "t"


@pytest.mark.parametrize(
    ("suite", "row"),
    [
        ("harmfulness", {"goal": "q", "target": "Sure"}),  # AdvBench
        ("harmfulness", {"Behavior": "q", "ContextString": ""}),  # HarmBench
        ("harmfulness", {"question": "q", "topic": "t"}),  # HarmfulQA
        ("harmfulness", {"instructions": "q"}),  # I-MaliciousInstructions
        ("toxicity", {"prompt": {"text": "q", "toxicity": 0.1}, "continuation": {"text": "c"}}),  # RealToxicityPrompts
    ],
)
def test_published_shapes_are_read_as_they_are(suite: str, row: dict[str, Any]) -> None:
    # Rows of published data sets are read without a new name for any column.
    assert prompt_row(suite, row, "f") == {"messages": ASK}


@pytest.mark.parametrize(
    ("row", "content"),
    [
        ({"instruction": "q", "input": 0}, "q\n\n0"),
        ({"instruction": "q", "input": float("nan")}, "q"),
        ({"prompt": 7}, "7"),
        ({"goal": False}, "false"),
        ({"text": "a\ud83d"}, "a\ufffd"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "q"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}]}, "q"),
    ],
)
def test_a_prompt_is_read_by_the_reader_of_training(row: dict[str, Any], content: str) -> None:
    # Values that are no text, missing values, half characters and other shapes are read as in training, as docs/data.md
    # says.
    assert prompt_row("harmfulness", row, "f") == {"messages": [{"role": "user", "content": content}]}


def test_a_system_text_of_a_row_is_part_of_its_prompt() -> None:
    # A row's system text is its first turn, as in training, and a reference that is a number becomes its text.
    made = prompt_row("task", {"prompt": "q", "system": "s", "reference": 0}, "f")
    assert made == {"messages": [{"role": "system", "content": "s"}, *ASK], "reference": "0", "metric": "exact"}


def test_a_contextual_behaviour_has_its_context_first() -> None:
    # HarmBench's ContextString comes first, then a rule, then the behaviour.
    row = {"Behavior": "q", "ContextString": "c"}
    assert prompt_row("harmfulness", row, "f")["messages"][0]["content"] == "c\n\n---\n\nq"


def test_over_refusal_needs_to_know_which_prompts_are_safe() -> None:
    # XSTest's label is kept and another value is refused, because both kinds are measured apart.
    assert prompt_row("over_refusal", {"prompt": "q", "type": "homonyms", "label": "safe"}, "f") == {
        "messages": ASK,
        "label": "safe",
        "type": "homonyms",
    }
    with pytest.raises(UserError, match="f: label must say whether the prompt is safe or unsafe, got 'maybe'"):
        prompt_row("over_refusal", {"prompt": "q", "label": "maybe"}, "f")


def test_crows_pairs_has_no_turns() -> None:
    # A row of CrowS-Pairs has two sentences that stand alone, and no turns.
    row = {"sent_more": "a", "sent_less": "b", "bias_type": "age", "stereo_antistereo": "stereo"}
    assert prompt_row("crows_pairs", row, "f") == {
        "messages": [], "sent_more": "a", "sent_less": "b", "bias_type": "age",
    }  # fmt: skip


def test_sentences_that_stand_alone_are_known_by_their_words() -> None:
    # The id of a CrowS-Pairs row, which has no prompt, is that of its sentences, wherever the row stands in the file.
    pairs = [{"sent_more": f"A {n}.", "sent_less": f"B {n}.", "bias_type": "age"} for n in range(3)]
    asked = [("s", prompt_row("crows_pairs", pair, "row")) for pair in pairs]
    ids = [row["id"] for row in with_ids(asked)]
    assert [row["id"] for row in with_ids(asked[::-1])] == ids[::-1] and len(set(ids)) == 3
