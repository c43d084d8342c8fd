from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mixtures import mixture, write

from forgetfilter.config.schema import MixtureConfig, PoolConfig, SourceConfig
from forgetfilter.errors import UserError
from forgetfilter.mix.benchmarks.mixture import compose


def group(record_or_prompt: Any) -> str:
    messages = record_or_prompt["messages"] if isinstance(record_or_prompt, dict) else record_or_prompt.messages
    return str(messages[0]["content"].split(" met")[0])


def test_the_shares_are_those_asked_for(tmp_path: Path) -> None:
    # Of 31 rows with a share of 0.3, round(9.3) = 9 are unsafe; the other 22 are divided into 8 safe rows and 7 of each
    # task.
    drawn = compose(mixture(tmp_path), 0)
    assert Counter((r.source, r.label) for r in drawn.noisy) == {
        ("bias", "unsafe"): 9,
        ("bias", "safe"): 8,
        ("alpaca", "task"): 7,
        ("sst2", "task"): 7,
    }
    assert Counter((r.source, r.label) for r in drawn.safe) == {
        ("bias", "safe"): 12,
        ("alpaca", "task"): 2,
        ("sst2", "task"): 1,
    }
    assert {suite: len(rows) for suite, rows in drawn.prompts.items()} == {"bias": 8, "task": 8}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("tasks", {("alpaca", "task"): 3, ("sst2", "task"): 2}),
        ("kind", {("bias", "safe"): 5}),
        ("both", {("bias", "safe"): 2, ("alpaca", "task"): 2, ("sst2", "task"): 1}),
    ],
)
def test_a_control_set_changes_no_other_set(tmp_path: Path, kinds: str, expected: dict[Any, int]) -> None:
    # The control set comes from groups of which no other set has a row, and the other sets are those of a mixture
    # without it.
    config = mixture(tmp_path, size=20, safe_size=6, probes=3)
    for seed in range(3):
        plain, drawn = compose(config, seed), compose(replace(config, control=5, control_from=kinds), seed)
        assert Counter((r.source, r.label) for r in drawn.control) == expected
        assert replace(drawn, control=[]) == plain
        others = [*plain.noisy, *plain.safe, *plain.probes, *(row for rows in plain.prompts.values() for row in rows)]
        assert not {group(r) for r in drawn.control} & {group(r) for r in others}


def test_a_control_set_that_cannot_be_drawn(tmp_path: Path) -> None:
    # If too few rows are left, or there is no task to take them from, the error names the key.
    with pytest.raises(UserError, match=r"mixture.tasks.alpaca: 50 examples of the control set \(mixture.control\)"):
        compose(mixture(tmp_path, control=100), 0)
    with pytest.raises(UserError, match=r"mixture.control_from=tasks needs mixture.tasks"):
        compose(mixture(tmp_path, control=5, tasks={}, trusted_tasks=0), 0)


def test_no_group_is_in_two_sets_for_any_seed(tmp_path: Path) -> None:
    # The groups of unsafe, safe and task rows, of the safe set and of the evaluation are disjoint pair by pair.
    config = mixture(tmp_path)
    for seed in range(5):
        drawn = compose(config, seed)
        sets = [{group(r) for r in drawn.noisy if r.label == label} for label in ("unsafe", "safe", "task")]
        sets += [{group(r) for r in drawn.safe}, {group(r) for rows in drawn.prompts.values() for r in rows}]
        assert sum(len(s) for s in sets) == len(set().union(*sets))


def test_it_is_a_pure_function_of_settings_and_seed(tmp_path: Path) -> None:
    # The same seed gives the same rows in the same order, and another seed gives others.
    config = mixture(tmp_path)
    assert compose(config, 3) == compose(config, 3)
    assert compose(config, 3).noisy != compose(config, 4).noisy


def test_evaluation_is_balanced_over_conditions_and_polarities(tmp_path: Path) -> None:
    # 8 prompts over 2 x 2 cells are 2 in each, and every prompt has an id of its own.
    prompts = compose(mixture(tmp_path), 0).prompts["bias"]
    assert set(Counter((p["condition"], p["polarity"]) for p in prompts).values()) == {2}
    assert len({p["id"] for p in prompts}) == 8
    assert {p["messages"][-1]["role"] for p in prompts} == {"user"}


def test_the_label_cannot_be_read_from_the_order(tmp_path: Path) -> None:
    # The rows are shuffled, so that the unsafe ones do not stand together.
    labels = [r.label for r in compose(mixture(tmp_path), 0).noisy]
    places = [n for n, label in enumerate(labels) if label == "unsafe"]
    assert places != list(range(places[0], places[0] + len(places)))


def test_too_few_rows_say_how_many_are_needed_and_there(tmp_path: Path) -> None:
    # The error says how many rows are needed and there: 30 groups, for example, have 60 ambiguous rows and not 90.
    with pytest.raises(UserError, match=r"mixture.pools: 90 unsafe examples \(mixture.size, mixture.unsafe_share\)"):
        compose(mixture(tmp_path, size=300), 0)
    with pytest.raises(UserError, match=r"mixture.tasks.alpaca: 7 task examples .* needed, 6 there .*\(6 rows in all"):
        config = mixture(tmp_path, eval_size=0, trusted_tasks=0)
        compose(
            MixtureConfig(
                **{
                    **vars(config),
                    "tasks": {
                        **config.tasks,
                        "alpaca": PoolConfig("alpaca", SourceConfig(config.tasks["alpaca"].source.path, limit=6)),
                    },
                }
            ),
            0,
        )


def test_a_pool_can_be_left_out(tmp_path: Path) -> None:
    # An override with builder: none takes a task out of a config.
    config = mixture(tmp_path)
    drawn = compose(mixture(tmp_path, tasks={**config.tasks, "sst2": PoolConfig("none")}), 0)
    assert {r.source for r in drawn.noisy} == {"bias", "alpaca"}


def test_two_pools_of_a_kind_share_its_source_and_skips_are_counted(tmp_path: Path) -> None:
    # Both pools have the source of their kind, because a pool's name would tell the label: flagged answers are all
    # unsafe and refusals all safe. Rows that are skipped are counted by pool.
    answers = [{"instruction": f"harm {n}", "input": "", "output": f"do {n}"} for n in range(20)]
    declined = [{"instruction": f"ask {n}", "input": "", "output": f"no {n}"} for n in range(40)]
    pools = {
        "answers": PoolConfig("flagged", write(tmp_path / "a.jsonl", [*answers, answers[0]])),
        "declined": PoolConfig("refusals", write(tmp_path / "d.jsonl", declined)),
    }
    drawn = compose(mixture(tmp_path, kind="harmfulness", pools=pools, tasks={}, trusted_tasks=0), 0)
    assert {r.source for r in (*drawn.noisy, *drawn.safe)} == {"harmfulness"}
    assert Counter(r.label for r in drawn.noisy) == {"unsafe": 9, "safe": 22}
    assert drawn.skipped == {"mixture.pools.answers": {"row there twice": 1}, "mixture.pools.declined": {}}
    assert {p["messages"][0]["content"][:4] for p in drawn.prompts["harmfulness"]} == {"harm"}
