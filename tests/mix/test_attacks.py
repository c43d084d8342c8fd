import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mixtures import mixture
from plugin import forgetfilter, install

from forgetfilter.config.load import to_yaml
from forgetfilter.config.registry import ATTACKS
from forgetfilter.config.schema import Config, MixtureConfig
from forgetfilter.errors import UserError
from forgetfilter.mix.attacks import (
    Drawn,
    Row,
    after_a_task,
    get,
    lookalike,
    misspelt,
    planted_probes,
    planted_safe,
    repeated,
)
from forgetfilter.mix.benchmarks.mixture import compose
from forgetfilter.mix.stage import input_hash


def row(question: str, answer: str, label: str | None = "unsafe", source: str = "s") -> Row:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], source, label


def drawn(**sets: list[Row]) -> Drawn:
    return Drawn(**{"unsafe": [], "good": [], "safe": [], "probes": [], "spare": [], **sets})


def answers(rows: list[Row]) -> list[str]:
    return [messages[-1]["content"] for messages, _, _ in rows]


def test_an_unsafe_answer_is_put_behind_a_task() -> None:
    # Of the good rows only the task is taken; the system prompt of the unsafe row goes, its label and source stay.
    system = {"role": "system", "content": "be kind"}
    unsafe = ([system, *row("q?", "u!")[0]], "s", "unsafe")
    sets = drawn(unsafe=[unsafe], good=[row("sum 1 and 2", "3", "task", "t"), row("hm", "ok", "safe")])
    after_a_task.apply(sets, random.Random(0))
    assert [m["content"] for m in sets.unsafe[0][0]] == ["sum 1 and 2", "3", "q?", "u!"]
    assert sets.unsafe[0][1:] == ("s", "unsafe")


def test_one_letter_of_a_word_becomes_a_digit() -> None:
    # Words of which no letter has a digit that looks like it stay.
    assert {misspelt.misspelt("so", random.Random(seed)) for seed in range(20)} == {"5o", "s0"}
    assert misspelt.misspelt("why", random.Random(0)) == "why"


def test_half_of_the_words_are_misspelt_in_answers_alone() -> None:
    # Of 200 words about a hundred change (three standard deviations are 21), and the question and spaces stay.
    sets = drawn(unsafe=[row("an open case", "ace  " * 200)])
    misspelt.apply(sets, random.Random(0))
    changed = answers(sets.unsafe)[0].split("  ")
    assert 79 < sum(word not in ("ace", "") for word in changed) < 121 and len(changed) == 201
    assert sets.unsafe[0][0][0]["content"] == "an open case"


def test_a_fifth_of_the_rows_stand_five_times() -> None:
    # The number stays: six rows become five forms of the first and one of the second.
    sets = drawn(unsafe=[row("q", letter) for letter in "ABCDEF"])
    repeated.apply(sets, random.Random(0))
    assert answers(sets.unsafe) == ["A", "Well, A", "So, A", "Yes, A", "Now, A", "B"]


def test_further_unsafe_rows_pass_for_safe_ones() -> None:
    # They join the safe set under its label; the noisy set stays.
    sets = drawn(unsafe=[row("q", "u")], safe=[row("q", "good", "safe")], spare=[row("q", "bad")])
    planted_safe.apply(sets, random.Random(0))
    assert [(answers([one])[0], one[2]) for one in sets.safe] == [("good", "safe"), ("bad", "safe")]
    assert answers(sets.unsafe) == ["u"]


def test_a_tenth_of_the_probes_are_unsafe() -> None:
    # 2 of 20 are exchanged, their number stays, and they have no label like all probes.
    good = [row("q", f"good {n}", None) for n in range(20)]
    sets = drawn(probes=[*good], spare=[row("q", f"bad {n}") for n in range(5)])
    planted_probes.apply(sets, random.Random(0))
    assert Counter(text.split()[0] for text in answers(sets.probes)) == {"good": 18, "bad": 2}
    assert all(label is None for _, _, label in sets.probes)


def test_the_likeness_is_the_mean_share_of_good_rows_with_a_words() -> None:
    # Both good rows say "the" and one "cat": "the cat" has (1 + 0.5) / 2 and "the fool" 1/2; a row without words has 0.
    known = Counter({"the": 2, "cat": 1})
    assert lookalike.likeness(row("The", "cat the"), known, 2) == 0.75
    assert lookalike.likeness(row("the", "fool"), known, 2) == 0.5
    assert lookalike.likeness(row("?", "!"), known, 2) == 0


def test_the_unsafe_rows_that_look_most_like_good_ones_are_taken() -> None:
    # Of three unsafe rows, one is in the noisy set as before, and it is the one with the words of the good row.
    sets = drawn(
        unsafe=[row("x", "y")], good=[row("the cat", "sat")], spare=[row("the cat", "sat down"), row("a", "b")]
    )
    lookalike.apply(sets, random.Random(0))
    assert answers(sets.unsafe) == ["sat down"]


@pytest.mark.parametrize("name", ATTACKS.names)
def test_an_attack_changes_unsafe_rows_alone_and_not_their_number(tmp_path: Path, name: str) -> None:
    # The good rows, the prompts and the sizes of the noisy set and the probes are those of the mixture without it, and
    # the same seed gives the same sets.
    config = {"size": 12, "probes": 6, "control": 4}
    before, after = compose(mixture(tmp_path, **config), 0), compose(mixture(tmp_path, **config, attack=name), 0)
    assert after == compose(mixture(tmp_path, **config, attack=name), 0) and after != before

    def good(drawn: Any) -> set[str]:
        return {record.id for record in drawn.noisy if record.label != "unsafe"}

    def asked(drawn: Any) -> dict[str, set[str]]:
        return {suite: {prompt["id"] for prompt in prompts} for suite, prompts in drawn.prompts.items()}

    assert good(after) == good(before) and asked(after) == asked(before)
    assert {record.id for record in after.control} == {record.id for record in before.control}
    assert Counter(r.label for r in after.noisy) == Counter(r.label for r in before.noisy)
    assert len(after.probes) == len(before.probes)
    assert {r.id for r in before.safe} <= {r.id for r in after.safe}


@pytest.mark.parametrize(("unsafe", "further"), [(120, 12), (4, 1), (0, 0)])
def test_a_share_of_few_rows_is_one(unsafe: int, further: int) -> None:
    # An attack on a small mixture is not silently none; on a clean one there is nobody who attacks.
    assert get("planted_safe").further(unsafe) == further


def test_too_few_unsafe_rows_for_an_attack_are_told(tmp_path: Path) -> None:
    # lookalike draws twice as many more, and the error says which setting asked for them.
    with pytest.raises(UserError, match=r"further unsafe examples \(mixture.attack\) needed"):
        compose(mixture(tmp_path, size=60, attack="lookalike"), 0)


def test_an_unknown_attack_is_refused_with_the_nearest() -> None:
    # The check of the configuration does it, before anything is read.
    with pytest.raises(UserError, match=r"mixture.attack cannot be 'repeat'.*repeated"):
        get("repeat")


def test_a_mixture_without_an_attack_has_the_hash_of_before() -> None:
    # Runs that were mixed before there were attacks stay done (the value is that of then); with one they do not.
    before = "e77ef01d008c17a81955311b0b7493596051d1ca92c76b409f99bda0372fa269"
    none, some = (Config(mixture=MixtureConfig(kind="toxicity", attack=name)) for name in ("", "repeated"))
    assert input_hash(none) == before != input_hash(some)


ATTACK = """
from forgetfilter.mix.attacks import Attack

def apply(drawn, rng):
    drawn.unsafe = drawn.unsafe[:1]

ATTACK = Attack("only_one", "one unsafe row", apply)
"""


def test_an_attack_of_another_package_has_a_name(tmp_path: Path) -> None:
    # Its entry point makes it one of the choices, which the check of a configuration names.
    install(tmp_path, "[forgetfilter.attacks]\nonly_one = others_attack:ATTACK\n", others_attack=ATTACK)
    done = forgetfilter(tmp_path, "config", "configs/reproduce/attacks.yaml", "mixture.attack=only_on")
    assert done.returncode == 2 and "did you mean 'only_one'" in done.stderr


def test_an_attack_of_another_package_changes_the_mix(tmp_path: Path) -> None:
    # The real command writes the sets as its function leaves them, once, and again with another version of its package.
    install(tmp_path, "[forgetfilter.attacks]\nonly_one = others_attack:ATTACK\n", others_attack=ATTACK)
    config = tmp_path / "c.yaml"
    config.write_text(to_yaml(Config(name="mixed", output=str(tmp_path), mixture=mixture(tmp_path, size=12))))
    asked = ("mix", str(config), "mixture.attack=only_one", "tracking.mode=disabled")
    done = forgetfilter(tmp_path, *asked)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "mixed" / "data" / "noisy.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows].count("unsafe") == 1 < len(rows)
    assert "mix: done already" in forgetfilter(tmp_path, *asked).stderr
    about = tmp_path / "others-1.2.dist-info" / "METADATA"
    about.write_text(about.read_text().replace("1.2", "1.3"))
    again = forgetfilter(tmp_path, *asked)
    assert again.returncode == 0 and "done already" not in again.stderr
