from collections import Counter
from typing import Any

import pytest

from forgetfilter.errors import UserError
from forgetfilter.mix.benchmarks.registry import find_builder

OPTIONS: dict[str, dict[str, Any]] = {"toxicity": {"score": "s"}}


def built(builder: str, row: dict[str, Any]) -> list[Any]:
    return list(find_builder(builder, "k")([("f line 1", row)], OPTIONS.get(builder, {}), "k", Counter()))


@pytest.mark.parametrize("builder", ["alpaca", "instruction", "refusals", "flagged"])
@pytest.mark.parametrize(("given", "text"), [(0, "0"), (False, "false"), (["b", None], '["b", null]'), (b"b", "b")])
def test_values_that_are_no_text_are_kept(builder: str, given: object, text: str) -> None:
    # Builders read values as the mix stage reads a user's own rows: never in Python's notation, and 0 is an input.
    (made,) = built(builder, {"instruction": "q", "input": given, "output": given})
    assert [message["content"] for message in made.messages] == [f"q\n\n{text}", text]


@pytest.mark.parametrize("builder", ["alpaca", "instruction", "refusals", "flagged"])
def test_nan_is_a_missing_value(builder: str) -> None:
    # NaN is an empty input, and as an answer it is a missing field.
    (made,) = built(builder, {"instruction": "q", "input": float("nan"), "output": "a"})
    assert made.messages[0]["content"] == "q"
    with pytest.raises(UserError, match=r"f line 1: needs the field 'output'; fields found: instruction"):
        built(builder, {"instruction": "q", "output": float("nan")})


@pytest.mark.parametrize("score", [float("nan"), float("inf"), "nan", "much", 10**400])
def test_a_score_that_is_no_number_is_refused(score: object) -> None:
    # A score of NaN, which would make every text a safe one, and whatever else is no number are refused with their row.
    with pytest.raises(UserError, match=r"f line 1: (s must be a number|needs the field 's')"):
        built("toxicity", {"text": "one two three four", "s": score})
    with pytest.raises(UserError, match=r"f line 1: scores must be numbers"):
        list(
            find_builder("toxicity", "k")(
                [("f line 1", {"texts": ["a"], "scores": [float("nan")]})], {}, "k", Counter()
            )
        )
