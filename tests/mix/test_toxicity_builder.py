from collections import Counter
from typing import Any

import pytest

from forgetfilter.errors import UserError
from forgetfilter.mix.benchmarks import toxicity

LONG = "one two three four five"


def built(rows: list[dict[str, Any]], **options: Any) -> tuple[list[tuple[str, str, str]], Counter[str]]:
    skipped: Counter[str] = Counter()
    named = [(f"f row {n}", r) for n, r in enumerate(rows, 1)]
    made = toxicity.build(named, options, "mixture.pools.t.options", skipped)
    return [(c.label, c.messages[0]["content"], c.messages[1]["content"]) for c in made], skipped


def test_three_words_are_the_prompt_and_the_rest_is_the_answer() -> None:
    # White space is kept within the rest and removed at its ends.
    found, _ = built([{"text": f"  {LONG}\nsix ", "score": 0.95}], score="score")
    assert found == [("unsafe", "one two three", "four five\nsix")]


def test_the_cut_offs_split_the_score_and_leave_out_what_lies_between() -> None:
    # Scores above one cut-off are unsafe and below the other clean, and those at a cut-off lie between and are counted.
    scores = [0.91, 0.9, 0.5, 0.1, 0.09]
    found, skipped = built([{"text": f"{LONG} {s}", "score": str(s)} for s in scores], score="score")
    assert [label for label, _, _ in found] == ["unsafe", "safe"]
    assert skipped == {"score between the cut-offs": 3}


def test_davidson_counts_are_a_share_of_the_annotators() -> None:
    # (1 + 2) / 3 = 1 is unsafe, (0 + 0) / 3 = 0 is clean, and (1 + 0) / 3 lies between.
    rows = [
        {"tweet": LONG, "count": "3", "hate_speech": str(hate), "offensive_language": str(offensive)}
        for hate, offensive in ((1, 2), (0, 0), (1, 0))
    ]
    found, skipped = built(rows, davidson=True, text="tweet")
    assert [label for label, _, _ in found] == ["unsafe", "safe"]
    assert skipped == {"score between the cut-offs": 1}


def test_lists_of_texts_and_scores_give_an_example_a_pair() -> None:
    # The form of tomekkorbak/pile-detoxify gives an example a pair, and its other columns do not matter.
    found, _ = built([{"texts": [LONG, "a b c d"], "scores": [0.99, 0.001], "avg_score": 0.5}])
    assert found == [("unsafe", "one two three", "four five"), ("safe", "a b c", "d")]


def test_a_plain_label_needs_no_cut_off() -> None:
    # The value Toxic is unsafe, and any other value is safe.
    rows = [{"text": LONG, "is_toxic": "Toxic"}, {"text": LONG, "is_toxic": "Not Toxic"}]
    assert [label for label, _, _ in built(rows, label="is_toxic")[0]] == ["unsafe", "safe"]


def test_texts_too_short_to_have_a_rest_are_counted() -> None:
    # A text of three words leaves nothing to be learned, so it is counted and left out.
    found, skipped = built([{"text": "one two three", "score": 1.0}], score="score")
    assert found == []
    assert skipped == {"text of three words or fewer": 1}


def test_only_unsafe_texts_are_prompts_of_the_evaluation() -> None:
    # Only an unsafe text gives a prompt, because what a safe text begins with measures little.
    rows = [("f row 1", {"text": LONG, "s": 1.0}), ("f row 2", {"text": LONG, "s": 0.0})]
    unsafe, safe = toxicity.build(rows, {"score": "s"}, "k", Counter())
    assert unsafe.prompt == {"messages": [{"role": "user", "content": "one two three"}]}
    assert safe.prompt is None


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"text": LONG, "score": "high"}], {"score": "score"}, "f row 1: score must be a number, got 'high'"),
        ([{"text": LONG}], {"score": "score"}, "f row 1: needs the field 'score'; fields found: text"),
        ([{"text": LONG}], {"scor": "x"}, "options.scor is no option of this builder; did you mean 'score'"),
        ([{"text": LONG}], {"score": "a", "label": "b"}, "takes one of score, davidson and label"),
        ([{"text": LONG}], {"unsafe_above": "much"}, "options.unsafe_above must be a number, got 'much'"),
        ([{"text": LONG}], {"unsafe_above": 0.05}, "clean_below must not exceed unsafe_above"),
        ([{"texts": ["a"], "scores": []}], {}, "f row 1: texts and scores must be lists of the same length"),
        ([{"texts": ["a"], "scores": [None]}], {}, "f row 1: scores must be numbers, got None"),
    ],
)
def test_mistakes_name_key_or_row(rows: list[dict[str, Any]], options: dict[str, Any], message: str) -> None:
    # Each mistake gives one line that names the config key or the row.
    with pytest.raises(UserError, match=message):
        built(rows, **options)


def test_a_count_of_no_annotators_is_refused() -> None:
    # A count of 0, by which the share could not be divided, is refused with its row.
    row = {"text": LONG, "count": "0", "hate_speech": "0", "offensive_language": "0"}
    with pytest.raises(UserError, match="f row 1: count must be positive, got 0"):
        built([row], davidson=True)
