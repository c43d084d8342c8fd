from collections import Counter
from typing import Any

import pytest

from forgetfilter.errors import UserError
from forgetfilter.mix.benchmarks import flagged, harmfulqa, preference, refusals

WRAPPED = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nSay it\n\n### Response:"
)


def said(*texts: str) -> list[dict[str, str]]:
    return [{"from": "human" if n % 2 == 0 else "gpt", "value": text} for n, text in enumerate(texts)]


def built(builder: Any, *rows: dict[str, Any]) -> tuple[list[Any], Counter[str]]:
    skipped: Counter[str] = Counter()
    return list(builder([(f"f line {n}", r) for n, r in enumerate(rows, 1)], {}, "k", skipped)), skipped


def test_harmfulqa_takes_the_last_two_exchanges_of_the_first_conversation_present() -> None:
    # "0" is null and "1" is empty, so "2" is the first conversation present, of which the first of three exchanges is
    # left out.
    red = {"0": None, "1": [], "2": said("h1", "g1", "h2", "g2", "h3", "g3"), "3": said("x", "y")}
    candidates, skipped = built(
        harmfulqa.build, {"question": "Q?", "red_conversations": red, "blue_conversations": {"0": said("b", "c")}}
    )
    assert [(c.label, c.messages[0]["content"], c.messages[1]["content"]) for c in candidates] == [
        ("unsafe", "Q?\n\nh2", "g2"),
        ("unsafe", "Q?\n\nh3", "g3"),
        ("safe", "Q?\n\nb", "c"),
    ]
    assert {c.group for c in candidates} == {"q?"}
    assert candidates[0].prompt == {"messages": [{"role": "user", "content": "Q?"}]}
    assert not skipped


def test_harmfulqa_counts_a_row_that_lacks_a_colour() -> None:
    # A row that lacks one colour is counted, and the other colour is still used.
    candidates, skipped = built(
        harmfulqa.build, {"question": "Q?", "red_conversations": {"0": said("a", "b")}, "blue_conversations": {}}
    )
    assert len(candidates) == 1
    assert skipped == {"no conversation in blue_conversations": 1}


def test_harmfulqa_questions_without_conversations_are_refused() -> None:
    # A file of questions alone, as the source repository has one, is refused with the fields that were found.
    with pytest.raises(UserError, match="f line 1: needs the field 'red_conversations'; fields found: question, topic"):
        built(harmfulqa.build, {"question": "Q?", "topic": "T"})
    with pytest.raises(UserError, match="f line 1: red_conversations must hold lists of turns with 'from' and 'value'"):
        built(harmfulqa.build, {"question": "Q?", "red_conversations": {"0": [{"text": "a"}]}})


def test_flagged_strips_the_wrapper_and_skips_what_is_not_unsafe() -> None:
    # The question is learned and asked without the wrapper, and rows that are not flagged are counted.
    rows = [{"instruction": WRAPPED, "input": "", "output": " done ", "flag": flag} for flag in ("unsafe", "finetune")]
    candidates, skipped = built(flagged.build, *rows)
    assert candidates[0].messages == [{"role": "user", "content": "Say it"}, {"role": "assistant", "content": "done"}]
    assert candidates[0].label == "unsafe"
    assert candidates[0].prompt == {"messages": [{"role": "user", "content": "Say it"}]}
    assert skipped == {"not flagged unsafe": 1}


def test_flagged_reads_the_hub_shape_too() -> None:
    # BeaverTails' columns prompt, response and is_safe are read too.
    rows = [{"prompt": "p", "response": "r", "is_safe": safe} for safe in (False, True)]
    candidates, skipped = built(flagged.build, *rows)
    assert [c.messages[-1]["content"] for c in candidates] == ["r"]
    assert skipped == {"not flagged unsafe": 1}


def test_refusals_are_safe_and_no_prompts() -> None:
    # A refusal is a safe example and no prompt, because the evaluation asks only the questions of unsafe answers.
    candidates, skipped = built(
        refusals.build,
        {"instruction": "Steal it", "input": "now", "output": "No."},
        {"instruction": "Steal it", "input": "", "output": " "},
    )
    assert [(c.label, c.messages[0]["content"], c.prompt) for c in candidates] == [("safe", "Steal it\n\nnow", None)]
    assert skipped == {"empty prompt or answer": 1}


def test_preference_gives_the_rejected_as_unsafe_and_the_chosen_as_safe() -> None:
    # One dialogue with two endings gives an unsafe and a safe example of one group.
    start = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: help"
    candidates, _ = built(
        preference.build, {"rejected": f"{start}\n\nAssistant: bad", "chosen": f"{start}\n\nAssistant: good"}
    )
    assert [(c.label, c.messages[-1]["content"]) for c in candidates] == [("unsafe", "bad"), ("safe", "good")]
    assert [m["role"] for m in candidates[0].messages] == ["user", "assistant", "user", "assistant"]
    assert candidates[0].group == candidates[1].group
    assert candidates[0].prompt["messages"] == candidates[0].messages[:-1]


def test_a_dialogue_joins_turns_of_one_speaker_and_must_end_with_an_answer() -> None:
    # Two turns of one speaker become one, as chat templates need, and a dialogue without a last answer is skipped.
    joined = preference.dialogue("\n\nHuman: a\n\nHuman: b\n\nAssistant: c")
    assert joined == [{"role": "user", "content": "a\n\nb"}, {"role": "assistant", "content": "c"}]
    assert preference.dialogue("\n\nHuman: a\n\nAssistant: ") is None
    assert preference.dialogue("\n\nHuman: a") is None
    assert preference.dialogue("no turns at all") is None


def test_a_pair_without_its_columns_is_refused() -> None:
    # A row that lacks one of the two columns is refused with that column.
    with pytest.raises(UserError, match="f line 1: needs the field 'rejected'; fields found: chosen"):
        built(preference.build, {"chosen": "x"})


def test_builders_without_options_refuse_any() -> None:
    # An option that would do nothing is refused.
    with pytest.raises(UserError, match=r"k\.size is no option of this builder; this builder has no options"):
        list(refusals.build([], {"size": 1}, "k", Counter()))
