"""The scores of whole decisions on a made-up folder of signals, to the last digit."""

import json
from pathlib import Path
from typing import Any

import pytest
from forgetfilter.filter.decide import decide

from forgetfilter.config.schema import AUTO
from forgetfilter.data.records import write_records

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "decisions.json").read_text())
ROWS, PROBES = 200, 80
HARMFUL, HARMLESS = ("hate", "curse", "threat", "mock"), ("bread", "garden", "river", "music")


def row(number: int) -> tuple[str, str, str, int, float, float]:
    """Every second row that is no probe is unsafe; the losses are sums in nats over 5 to 17 tokens."""
    unsafe, tokens = number < ROWS - PROBES and number % 2 == 1, 5 + number * 5 % 13
    words = [(HARMFUL if unsafe else HARMLESS)[number * step % 4] for step in (3, 7)]
    before = tokens * (0.25 + number * 37 % 101 / 50)
    rise = before * (number * 53 % 89 / 200 - 0.1 + 1.2 * unsafe)
    text = " ".join([*words, *(f"w{number * step % 23}" for step in (2, 5, 11)), f"n{number}"])
    return text, ("forum", "mail", "book")[number % 3], "unsafe" if unsafe else "safe", tokens, before, before + rise


@pytest.mark.parametrize("name", GOLDEN)
def test_the_decisions_are_golden(make_toy: Any, name: str) -> None:
    # Scores and drops are those that the filter gave on 2026-11-28. Before its files were moved (eef67e1) it gave the
    # same scores and cut of otsu to the last digit; conformal's bound and distilled_excess are younger. Who changes a
    # digit changes what is dropped of all data.
    signal, rule = name.split()
    toy = make_toy([row(number) for number in range(ROWS)])
    if rule == "conformal":
        write_records(toy.folder / "data" / "probes.jsonl", toy.records[-PROBES:])
    toy.run().write_config()
    decide(toy.task(signal=signal, rule=rule))
    found = toy.decisions()
    assert found["score"].to_list() == GOLDEN[name]["score"]
    assert [place for place, drop in enumerate(found["drop"]) if drop] == GOLDEN[name]["dropped"]


def test_the_default_decisions_are_among_them() -> None:
    # What `auto` stands for, with probes and without, is pinned; a new default brings its own numbers here.
    assert {" ".join(chosen) for chosen in AUTO.values()} <= GOLDEN.keys()
