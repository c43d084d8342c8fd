from collections import Counter
from typing import Any

import pytest

from forgetfilter.errors import UserError
from forgetfilter.mix.benchmarks import alpaca, instruction, squad
from forgetfilter.mix.benchmarks.candidates import unwrap_alpaca
from forgetfilter.mix.benchmarks.registry import find_builder

WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\nSort:\n\nA\nB\n\n\n"
    "### Input:\nthe text \n\n### Response:"
)


def built(builder: Any, *rows: dict[str, Any], **options: Any) -> tuple[list[Any], Counter[str]]:
    skipped: Counter[str] = Counter()
    return list(builder([(f"f line {n}", r) for n, r in enumerate(rows, 1)], options, "k", skipped)), skipped


def test_squad_answers_come_as_a_list_or_as_the_hubs_object() -> None:
    # Both shapes give the first answer, and rows of one context are of one group.
    base = {"context": "It is red.", "question": "Colour?"}
    shapes = [{**base, "answers": [{"text": "red", "answer_start": 6}]}, {**base, "answers": {"text": ["red", "Red"]}}]
    candidates, _ = built(squad.build, *shapes)
    assert [c.messages[-1]["content"] for c in candidates] == ["red", "red"]
    assert candidates[0].messages[0]["content"] == "It is red.\n\nColour?"
    assert candidates[0].prompt["reference"] == "red" and candidates[0].prompt["metric"] == "squad"
    assert [c.prompt["references"] for c in candidates] == [["red"], ["red", "Red"]]
    assert candidates[0].group == candidates[1].group


def test_squad_rows_without_an_answer_are_counted_and_a_wrong_shape_refused() -> None:
    # Questions without an answer, which version 2 has, are counted, and answers of another shape are refused.
    base = {"context": "c", "question": "q"}
    assert built(squad.build, {**base, "answers": {"text": []}})[1] == {"no answer": 1}
    with pytest.raises(UserError, match="f line 1: answers must be a list of objects with 'text'"):
        built(squad.build, {**base, "answers": "red"})


def test_alpaca_joins_instruction_and_input_and_is_measured_by_rouge() -> None:
    # Instruction and input make the prompt, and its open answer is measured by overlap.
    candidates, skipped = built(
        alpaca.build,
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"instruction": "Go", "input": "", "output": ""},
    )
    assert candidates[0].messages[0]["content"] == "Add.\n\n1 and 2"
    assert candidates[0].prompt == {"messages": candidates[0].messages[:1], "reference": "3", "metric": "rouge1"}
    assert skipped == {"empty prompt or answer": 1}


def test_the_alpaca_wrapper_is_stripped_with_its_input() -> None:
    # The wrapper is removed and its input found, and a prompt that only looks like the wrapper is left as it is.
    assert unwrap_alpaca(WITH_INPUT) == ("Sort:\n\nA\nB", "the text")
    assert unwrap_alpaca(" plain ### Input: prompt ") == ("plain ### Input: prompt", "")


def test_instruction_rows_wrapped_or_plain_give_the_same_prompt() -> None:
    # Wrapped and plain rows, as the training and test files of one task have them, give the same prompt.
    candidates, skipped = built(
        instruction.build,
        {"instruction": WITH_INPUT, "input": "", "output": "A", "flag": "finetune"},
        {"instruction": "Sort:\n\nA\nB", "input": "the text", "output": "A"},
        {"instruction": "Do harm", "input": "", "output": "B", "flag": "unsafe"},
    )
    assert candidates[0].messages == candidates[1].messages
    assert skipped == {"flagged unsafe": 1}


@pytest.mark.parametrize(
    ("answer", "metric", "expected"),
    [
        ("positive", "auto", ("positive", "exact")),
        ("3 + 4 = 7 pens.\nThe final answer is:  7", "auto", ("7", "number")),
        ("He has $1,250.50 left.\n#### 1,250.50", "auto", ("1250.50", "number")),
        ("It fell to -4 degrees.", "number", ("-4", "number")),
        ("nothing", "number", ("nothing", "exact")),
        ("a long answer of many words here", "auto", ("a long answer of many words here", "rouge1")),
    ],
)
def test_the_metric_fits_the_answer(answer: str, metric: str, expected: tuple[str, str]) -> None:
    # A short answer is compared exactly, a final number as a number, and a long answer by overlap.
    found = instruction.reference(answer, metric)
    assert (found["reference"], found["metric"]) == expected


def test_an_unknown_metric_or_builder_names_the_nearest() -> None:
    # An unknown metric or builder is refused with the nearest name.
    with pytest.raises(UserError, match=r"k\.metric cannot be 'exactt'; did you mean 'exact'"):
        built(instruction.build, metric="exactt")
    with pytest.raises(UserError, match=r"mixture.pools.x.builder cannot be 'toxcity'; did you mean 'toxicity'"):
        find_builder("toxcity", "mixture.pools.x.builder")
