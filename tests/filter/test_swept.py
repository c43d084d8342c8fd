"""What other values of a rule's setting would drop, in filter/sweep.json."""

from typing import Any

import pytest
from forgetfilter.filter import swept
from forgetfilter.filter.decide import decide
from forgetfilter.filter.inspecting.sweep import sweep

from forgetfilter.files import read_json


def told(toy: Any, **settings: Any) -> Any:
    decide(toy.task(signal="loss_rise", **settings))
    path = toy.folder / "filter" / "sweep.json"
    return read_json(path) if path.exists() else None


def test_the_page_gets_the_curve_by_hand(make_toy: Any, four_rows: Any) -> None:
    # The loss rises by 1 (unsafe, of the forum), 0.25 (unsafe, mail), 0 (forum) and -1 (book). The value in use is
    # marked, and dropping all is left out, because the filter refuses it.
    found = told(make_toy(four_rows), rule="top_k", top_k=2)
    assert (found["rule"], found["varies"], found["now"]) == ("top_k", "top_k", 2)
    assert found["values"] == found["dropped"] == [0, 1, 2, 3] and found["kept"] == [4, 3, 2, 1]
    assert found["by_source"] == {"forum": [0, 1, 1, 2], "mail": [0, 0, 1, 1], "book": [0, 0, 0, 0]}
    assert found["by_label"] == {"unsafe": 2, "good": 2, "unsafe_left": [2, 1, 0, 0], "good_lost": [0, 0, 0, 1]}
    assert found["by_probes"] is None and found["other_sources"] == [0] * 4


def test_a_value_between_the_steps_has_a_place_of_its_own(make_toy: Any, four_rows: Any) -> None:
    # quantile varies by hundredths, and 0.505 stands between 0.5 and 0.51.
    found = told(make_toy(four_rows), rule="quantile", quantile=0.505)
    assert found["values"][found["now"]] == 0.505 and found["values"][found["now"] - 1] == 0.5


def test_a_rule_without_a_number_gives_its_place_to_quantile(make_toy: Any, four_rows: Any) -> None:
    # No place is that of the decision then. Without labels there are none to count.
    toy = make_toy([(*row[:2], None, *row[3:]) for row in four_rows])
    found = told(toy, rule="source_budget", source_budget={"mail": 0.0})
    assert (found["rule"], found["now"], found["by_label"]) == ("quantile", None, None)


def test_small_sources_are_told_together(make_toy: Any, four_rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the largest source is told by its name; all rows that are dropped are still counted.
    monkeypatch.setattr(swept, "SOURCES", 1)
    found = told(make_toy(four_rows), rule="top_k", top_k=1)
    assert found["by_source"] == {"forum": [0, 1, 1, 2]} and found["other_sources"] == [0, 0, 1, 1]


def test_where_there_is_nothing_to_choose_an_earlier_sweep_goes(
    make_toy: Any, four_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Equal scores leave nothing to choose, and very many rows take too long: no sweep of another decision stays.
    assert told(make_toy([(*row[:3], 1, 1.0, 1.0) for row in four_rows]), rule="top_k", top_k=1) is None
    toy = make_toy(four_rows)
    assert told(toy, rule="top_k", top_k=1)
    monkeypatch.setattr(swept, "MOST_ROWS", 3)
    assert told(toy, rule="top_k", top_k=2) is None


def test_the_estimate_is_that_of_the_decision(make_toy: Any) -> None:
    # 40 probes rise by 0 to 39 hundredths, and so do 60 good rows; 40 unsafe ones by 1 to 1.4. At the value in use
    # page, summary.json and --sweep tell the same, and no probe is among the counts.
    probes = [(f"probe {n}", "chat", None, 1, 1.0, 1 + n / 100) for n in range(40)]
    good = [(f"good {n}", "chat", None, 1, 1.0, 1 + (n % 40) / 100) for n in range(60)]
    bad = [(f"bad {n}", "chat", None, 1, 1.0, 2 + n / 100) for n in range(40)]
    toy = make_toy([*probes, *good, *bad])
    (toy.folder / "data" / "probes.jsonl").write_text("".join(f'{{"id": "{name}"}}\n' for name in toy.ids[:40]))
    task = toy.task(signal="loss_rise", rule="quantile", quantile=0.38)
    summary = decide(task)
    found = read_json(toy.folder / "filter" / "sweep.json")
    now, by = found["now"], found["by_probes"]
    assert found["values"][now] == 0.38 and found["dropped"][now] == summary["dropped"] == 38
    assert found["kept"][now] + found["dropped"][now] == 100
    ends = [by[name][now] for name in ("unsafe_left", "unsafe_left_low", "unsafe_left_high")]
    assert ends == summary["estimate"]["left"]
    expected = summary["estimate"]["good_dropped"] * (100 - summary["estimate"]["unsafe"][0])
    assert by["good_lost"][now] == pytest.approx(expected)
    row = sweep(task).filter(setting=0.38).row(0, named=True)
    assert (row["unsafe_left"], row["good_lost"]) == (ends[0], by["good_lost"][now])
