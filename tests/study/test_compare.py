import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from toy_study import call

from forgetfilter.config.load import load_config
from forgetfilter.errors import UserError
from forgetfilter.files import read_json
from forgetfilter.study import compare, compare_page
from forgetfilter.study.defences import random_filter


def trainings(runs: Path) -> list[str]:
    """The stages that were trained, and not taken over from another cell."""
    states = [read_json(path) for path in runs.glob("*/state.json")]
    made = [stage for state in states for stage, entry in state.items() if "shared_with" not in entry]
    return sorted(stage for stage in made if stage.startswith("train-"))


def test_each_defence_is_measured_and_what_they_share_is_done_once(comparison: Path, capsys: Any) -> None:
    # M1 and M2 are trained once for eight defences, the rest is a refit each. The table fits into 80 columns, and the
    # same command again does nothing. A cell that lost its evaluation is alone done again.
    assert call("compare", comparison) == 0
    runs = comparison.parent / "runs"
    assert trainings(runs) == ["train-noisy"] + ["train-refit"] * 4 + ["train-safe"]
    told = read_json(runs / "toy-compare" / "compare.json")
    assert (told["members"], told["done"], told["missing"]) == (8, 8, [])
    rows = {row["defence"]: row for row in told["points"][0]["rows"]}
    assert set(rows["none"]["metrics"]) == {"harmfulness", "task"} and rows["none"]["auroc"] is None
    attack = rows["forgetfilter"]["metrics"]["harmfulness"]["attack_success_rate"]
    assert attack["n"] == 5 and attack["to_none"]["n"] == 5 and attack["to_rival"]["other"] != "oracle"
    assert rows["oracle"]["unsafe_left"] == rows["oracle"]["good_lost"] == 0 and rows["oracle"]["auroc"] is None
    assert rows["random_filter"]["dropped"] == rows["forgetfilter"]["dropped"] == 7  # 30% of 23
    assert 0 <= rows["forgetfilter"]["auroc"] <= 1 and rows["forgetfilter"]["tokens"] > rows["none"]["tokens"] > 0
    shown = Console(width=80, record=True)
    shown.print(compare_page.table_of(told))
    assert max(map(len, shown.export_text().splitlines())) <= 80
    markdown = (runs / "toy-compare" / "compare.md").read_text()
    assert "refusal rate" in markdown and "oracle (ceiling)" in markdown
    assert "<script src" not in (runs / "toy-compare" / "compare.html").read_text()

    (runs / "toy-oracle-0" / "eval" / "refit" / "task" / "metrics.json").unlink()
    state = runs / "toy-oracle-0" / "state.json"
    state.write_text(json.dumps({key: one for key, one in read_json(state).items() if key not in ("eval", "report")}))
    before = {path: path.read_bytes() for path in runs.glob("*/state.json") if "oracle" not in str(path)}
    capsys.readouterr()
    assert call("compare", comparison, "--pending") == 0
    assert capsys.readouterr().out == "toy 7\n"
    assert call("compare", comparison) == 0
    assert before == {path: path.read_bytes() for path in before}
    assert trainings(runs) == ["train-noisy"] + ["train-refit"] * 4 + ["train-safe"]
    assert capsys.readouterr().out.splitlines()[-1] == str(runs / "toy-compare")


def test_the_labels_reach_the_oracle_alone(comparison: Path) -> None:
    # Without labels every decision but the oracle's is the same to the byte, and the oracle is refused in one line.
    names = "compare.defences=[forgetfilter,random_filter,text_scorer,oracle]"
    noisy = comparison.parent / "noisy.jsonl"
    lines = [json.loads(line) for line in noisy.read_text().splitlines()]
    decided = {}
    for name in ("known", "unknown"):
        noisy.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert call("compare", comparison, names, f"name={name}") == (0 if name == "known" else 2)
        runs = comparison.parent / "runs"
        cells = [runs / f"{name}-{defence}-0" for defence in ("forgetfilter", "random_filter", "text_scorer")]
        decided[name] = [pl.read_parquet(run / "filter" / "decisions.parquet")["drop"].to_list() for run in cells]
        for line in lines:
            line.pop("label", None)
    assert decided["known"] == decided["unknown"]
    assert read_json(runs / "unknown-compare" / "compare.json")["missing"][0]["run"] == "unknown-oracle-0"


def test_a_random_filter_spares_probes(comparison: Path) -> None:
    # As many rows as the decisions drop, another draw by another seed, and never a probe.
    decisions = pl.DataFrame({"drop": [True] * 3 + [False] * 17, "probe": [False] * 10 + [True] * 10})
    drawn = [random_filter.drops(decisions, seed) for seed in range(20)]
    assert all(one.sum() == 3 and not one[10:].any() for one in drawn)
    assert len({tuple(one) for one in drawn}) > 10


def test_the_grid_is_every_defence_with_every_seed_and_setting(comparison: Path) -> None:
    # The cells of a seed together; a value that is the config's own is the configuration as it is.
    words = ["compare.defences=[none,oracle]", "compare.seeds=[3,5]", "compare.vary={filter.quantile: [0.1, 0.3]}"]
    cells = compare.members(load_config(comparison, words))
    assert [one.config.name for one in cells][:4] == [
        "toy-none-3", "toy-oracle-3", "toy-filter.quantile=0.1-none-3", "toy-filter.quantile=0.1-oracle-3",
    ]  # fmt: skip
    assert len(cells) == 8 and [one.number for one in cells] == list(range(8))
    assert cells[2].config.filter.quantile == 0.1 and cells[4].config.seed == 5
    assert cells[0].config.eval.models == ["noisy"] and cells[0].config.compare is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("compare.defences=[]", r"compare\.defences is empty"),
        ("compare.seeds=[]", r"compare\.seeds is empty"),
        ("compare.vary={filter.quantile: []}", r"compare\.vary\.filter\.quantile is empty"),
        ("compare.defences=[none,none]", r"compare\.defences holds none more than once"),
        ("compare.defences=[orakle]", r"compare\.defences cannot be 'orakle'; did you mean 'oracle'"),
        ("compare.defences=[guard]", r"guard needs a guard model: set score\.guard\.name"),
        ("compare.vary={seed: [1]}", r"compare\.vary\.seed cannot be varied"),
        ("compare.vary={filter.quantil: [0.1]}", r"filter\.quantil: .*compare\.vary\.filter\.quantil"),
        ("compare.vary={filter.quantile: [2]}", r"filter\.quantile must be between 0 and 1"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused(comparison: Path, setting: str, message: str) -> None:
    # By its key, before anything is trained.
    with pytest.raises(UserError, match=message):
        compare.members(load_config(comparison, [setting]))
