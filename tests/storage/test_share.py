"""The share of a run's work that is done."""

from pathlib import Path

import pytest

from forgetfilter.config.schema import (
    Config,
    DataConfig,
    EvalConfig,
    RefitConfig,
    ScheduleConfig,
    SourceConfig,
    TrainConfig,
)
from forgetfilter.files import write_json
from forgetfilter.storage.share import share_done


def test_the_share_counts_each_pass_over_the_examples(tmp_path: Path) -> None:
    # 10 noisy rows are learned 4 times and scored twice, 5 safe ones learned twice, and all 15 at most 3 times by the
    # refit: 40 + 20 + 10 + 45 = 115. A control set has passes of its own, and the other stages have none.
    source = {"a": SourceConfig(path="a.jsonl")}
    train = TrainConfig(noisy=ScheduleConfig(epochs=4), safe=ScheduleConfig(epochs=2), refit=RefitConfig(epochs=3))
    config = Config(name="run", data=DataConfig(source, source), train=train)
    stages = ["mix", "train-noisy", "train-safe", "train-control", "score", "filter", "train-refit"]
    assert share_done(config, tmp_path, []) is None  # nothing is mixed yet
    counts = {name: {"rows": rows} for name, rows in (("noisy", 10), ("safe", 5), ("control", 7))}
    write_json(tmp_path / "data" / "summary.json", {"eval": {"task": 3}, **counts})
    for done, passes in ((1, 0), (2, 40), (3, 50), (4, 50), (5, 70), (6, 70), (7, 115)):
        assert share_done(config, tmp_path, stages[:done]) == pytest.approx(passes / 115)
    controlled = Config(name="run", data=DataConfig(source, source, control=source), train=train)
    assert share_done(controlled, tmp_path, stages[:4]) == pytest.approx((50 + 14) / (115 + 14 + 10))


def test_an_evaluation_alone_has_no_share(tmp_path: Path) -> None:
    # Where nothing is trained no examples are learned or scored.
    write_json(tmp_path / "data" / "summary.json", {"eval": {"task": 3}})
    config = Config(name="run", data=DataConfig({}, {}), eval=EvalConfig(models=["base"]))
    assert config.only_evaluates and share_done(config, tmp_path, ["mix"]) is None
