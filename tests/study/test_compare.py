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

TRAININGS = ["train-noisy"] + ["train-refit"] * 6 + ["train-safe"] * 2
SEQUENTIAL = ("sequential", "sequential_no_tasks")


def trainings(runs: Path) -> list[str]:
    """The stages that were trained, and not taken over from another cell."""
    states = [read_json(path) for path in runs.glob("*/state.json")]
    made = [stage for state in states for stage, entry in state.items() if "shared_with" not in entry]
    return sorted(stage for stage in made if stage.startswith("train-"))


def test_each_defence_is_measured_and_what_they_share_is_done_once(compared: tuple[Path, str], capsys: Any) -> None:
    # M1 is trained once for eleven defences, M2 with and without tasks, and each of the others costs a refit. The table
    # fits into 80 columns, and the same command again does nothing. Only a cell that lost its evaluation is done again.
    runs = compared[0].parent / "runs"
    assert trainings(runs) == TRAININGS
    told = read_json(runs / "toy-compare" / "compare.json")
    assert (told["members"], told["done"], told["missing"]) == (11, 11, [])
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
    assert call("compare", *compared, "--pending") == 0
    assert capsys.readouterr().out == "toy 8\n"
    assert call("compare", *compared) == 0
    assert before == {path: path.read_bytes() for path in before}
    assert trainings(runs) == TRAININGS
    assert capsys.readouterr().out.splitlines()[-1] == str(runs / "toy-compare")


def test_the_labels_reach_the_oracle_alone(compared: tuple[Path, str], comparison: Path, capsys: Any) -> None:
    # Without labels every decision but the oracle's is the same to the byte, and the oracle is refused in one line
    # before anything is trained.
    names = "compare.defences=[forgetfilter,random_filter,text_scorer,oracle]"
    noisy = comparison.parent / "noisy.jsonl"
    lines = [json.loads(line) for line in noisy.read_text().splitlines()]
    for line in lines:
        line.pop("label")
    noisy.write_text("".join(json.dumps(line) + "\n" for line in lines))
    capsys.readouterr()
    assert call("compare", comparison, names) == 2
    said = capsys.readouterr().err

    def decided(config: Path) -> list[Any]:
        cells = [config.parent / "runs" / f"toy-{one}-0" for one in ("forgetfilter", "random_filter", "text_scorer")]
        return [pl.read_parquet(run / "filter" / "decisions.parquet")["drop"].to_list() for run in cells]

    assert decided(compared[0]) == decided(comparison)
    missing = read_json(comparison.parent / "runs" / "toy-compare" / "compare.json")["missing"]
    assert missing[0]["run"] == "toy-oracle-0"
    assert said.index("toy-oracle-0: compare.defences: oracle needs noisy rows") < said.index("train-noisy: ")


def test_a_random_filter_spares_probes(comparison: Path) -> None:
    # It drops as many rows as the decisions, draws others with another seed, and never drops a probe.
    decisions = pl.DataFrame({"drop": [True] * 3 + [False] * 17, "probe": [False] * 10 + [True] * 10})
    drawn = [random_filter.drops(decisions, seed) for seed in range(20)]
    assert all(one.sum() == 3 and not one[10:].any() for one in drawn)
    assert len({tuple(one) for one in drawn}) > 10


def test_the_grid_is_every_defence_with_every_seed_and_setting(comparison: Path) -> None:
    # The cells of a seed stand together. A varied value that equals the config's adds no cell.
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
    # The error names the key, before anything is trained.
    with pytest.raises(UserError, match=message):
        compare.members(load_config(comparison, [setting]))


def test_waves_train_first_what_others_take_over(comparison: Path) -> None:
    # A seed's M1 comes from the cell that goes furthest; then comes one that trains M2 by itself, and then the rest.
    words = ["compare.defences=[none,sequential,sequential_no_tasks,forgetfilter,oracle]", "compare.seeds=[0,1]"]
    assert compare.waves(compare.members(load_config(comparison, words))) == ["3,8", "2,7", "0,1,4,5,6,9"]


def test_rounds_begin_where_the_one_before_ended(comparison: Path) -> None:
    # Each defence starts from its own model, and the relapse from sequential's M2: its M1 is that of sequential's
    # second round, which is trained once. There are loss curves for both finetunings.
    words = ["compare.defences=[none,sequential,relapse]", "compare.rounds=2"]
    assert call("compare", comparison, *words) == 0
    runs = comparison.parent / "runs"
    assert trainings(runs) == ["train-noisy"] * 3 + ["train-safe"] * 2  # round 1, none and sequential in round 2
    second = load_config(runs / "toy-round-2-relapse-0" / "config.yaml")
    assert second.model.name == str(runs / "toy-sequential-0" / "outcome")
    told = read_json(runs / "toy-compare" / "compare.json")
    assert [point["point"] for point in told["points"]] == ["", "round 2"]
    losses = {row["defence"]: row["metrics"]["task"]["answer_loss"]["value"] for row in told["points"][0]["rows"]}
    assert losses["relapse"] == losses["none"] != losses["sequential"]
    curves = told["curves"]["stages"]
    assert set(curves["noisy"]) == {"web (unsafe)", "web (safe)", "web (task)"}
    assert set(curves["safe"]) == {"ours (safe)", "ours (task)"}
    assert [step for step, _ in curves["noisy"]["web (unsafe)"]][-1] == 12  # 23 rows by 4, twice


def test_a_round_cannot_begin_without_the_one_before(comparison: Path, capsys: Any) -> None:
    # In a job array, for example, this gives one line. A defence that follows another needs it in the comparison.
    words = [comparison, "compare.defences=[none]", "compare.rounds=2"]
    assert call("compare", *words, "--member", 1) == 2
    assert "toy-none-0 is pending: the next round begins at its model" in capsys.readouterr().err
    with pytest.raises(UserError, match="with several rounds relapse needs sequential"):
        compare.members(load_config(comparison, ["compare.defences=[none,relapse]", "compare.rounds=2"]))


def test_the_paper_s_filter_and_the_safe_set_without_tasks(compared: tuple[Path, str]) -> None:
    # ROUGE is generated only for the paper's cell. Without tasks M2 learns seven rows instead of ten from the same M1.
    # Replay learns all noisy rows and the safe set.
    runs = compared[0].parent / "runs"
    safe = [len((runs / f"toy-{name}-0" / "data" / "safe.jsonl").read_text().splitlines()) for name in SEQUENTIAL]
    assert safe == [10, 7]
    assert read_json(runs / "toy-forgetfilter_paper-0" / "filter" / "summary.json")["signal"] == "rouge1_drop"
    assert [run.name for run in runs.glob("*") if (run / "signals" / "rouge1").exists()] == ["toy-forgetfilter_paper-0"]
    counts = read_json(runs / "toy-replay-0" / "train" / "refit" / "data.json")
    assert (counts["kept"], counts["trusted"]) == (23, 10)


def test_a_safe_set_of_tasks_alone_is_nothing_without_them(comparison: Path, capsys: Any) -> None:
    # One line names the key before anything is trained.
    safe = comparison.parent / "safe.jsonl"
    safe.write_text("".join(line + "\n" for line in safe.read_text().splitlines() if '"task"' in line))
    assert call("compare", comparison, "compare.defences=[sequential_no_tasks]") == 2
    assert "data.safe_tasks: every row of the safe set is labelled task" in capsys.readouterr().err


def test_a_guard_that_is_not_at_hand_is_told_before_anything_is_trained(comparison: Path, capsys: Any) -> None:
    # One line names its key, and nothing is trained.
    words = ["compare.defences=[guard]", "score.guard.name=classifier", "score.guard.model=/absent"]
    assert call("compare", comparison, *words) == 2
    said = capsys.readouterr().err
    assert "toy-guard-0: score.guard" in said and "/absent" in said
    assert trainings(comparison.parent / "runs") == []


def _toxicity(told: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of the one picture."""
    return compare_page.pictures(told)["toxicity: toxicity mean ↓"].data


def test_the_picture_has_a_line_a_defence_where_settings_are_varied() -> None:
    # With one point of the grid the values stand by defence; with several each defence is a line over the points in
    # their order. What was not measured has no mark.
    def point(name: str, *values: float | None) -> dict[str, Any]:
        about = {"low": 0.0, "high": 1.0, "headline": True, "better": "lower"}
        rows = [
            {"defence": defence, "metrics": {"toxicity": {"toxicity_mean": {"value": value} | about}}}
            for defence, value in zip(("none", "oracle"), values)
        ]
        return {"point": name, "rows": rows}

    told = {"defences": {"none": "", "oracle": ""}, "points": [point("", 0.5, 0.2)]}
    assert [line["x"] for line in _toxicity(told)] == [["none"], ["oracle"]]
    told["points"] = [*told["points"], point("a=1", 0.6, None)]
    lines = {line["name"]: (line["x"], line["y"]) for line in _toxicity(told)}
    assert lines == {"none": (["as configured", "a=1"], [0.5, 0.6]), "oracle": (["as configured"], [0.2])}
