"""forgetfilter filter --from: what it refuses. What it decides: tests/train/test_watching.py."""

import json
from pathlib import Path

import polars as pl
import pytest
from toy_study import call

from forgetfilter.api import ids
from forgetfilter.storage.shards import shard_path

ROWS = [{"question": f"{n}?", "answer": str(n)} for n in range(12)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The noisy data in columns of other names, one of whose rows is in the safe data too, and two logs of it."""
    monkeypatch.chdir(tmp_path)
    for name, rows in (("noisy", ROWS), ("safe", [ROWS[0], {"question": "a", "answer": "b"}])):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"prompt": row["question"], "completion": row["answer"]} for row in ROWS]
    for state, rise in (("before", 0.0), ("after", 1.0)):
        log(state, ids(asked), rise)


def log(folder: str, names: list[str], rise: float) -> None:
    sums = [1.0 + rise * number for number in range(len(names))]
    path = shard_path(Path(folder), 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"id": names, "num_tokens": [2] * len(names), "loss_sum": sums}).write_parquet(path)


FROM = ("filter", "--from", "before", "after", "--data", "noisy.jsonl", "--safe", "safe.jsonl")


def test_a_decision_without_a_run_is_a_run_folder(capsys: pytest.CaptureFixture[str]) -> None:
    # From logs alone a run folder is made that leaves out the trusted row, drops as asked and can decide again by
    # itself.
    assert call(*FROM, "filter.rule=top_k", "filter.top_k=3") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "runs/noisy"
    dropped = Path("runs/noisy/filter/export/dropped.jsonl").read_text().splitlines()
    assert {json.loads(row)["answer"] for row in dropped} == {"9", "10", "11"}
    assert call("filter", "runs/noisy", "filter.rule=top_k", "filter.top_k=2") == 0
    assert len(Path("runs/noisy/filter/dropped.jsonl").read_text().splitlines()) == 2
    assert call("filter", "runs/noisy", "--sweep", "filter.rule=top_k", "filter.top_k=2") == 0


def test_other_logs_are_another_decision() -> None:
    # The same command on logs that changed decides anew.
    assert call(*FROM, "filter.rule=top_k", "filter.top_k=1") == 0
    first = Path("runs/noisy/filter/dropped.jsonl").read_text()
    frame = pl.read_parquet(shard_path(Path("after"), 0, 0))
    frame.with_columns(pl.col("loss_sum").reverse()).write_parquet(shard_path(Path("after"), 0, 0))
    assert call(*FROM, "filter.rule=top_k", "filter.top_k=1") == 0
    assert Path("runs/noisy/filter/dropped.jsonl").read_text() != first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (FROM[:4], "--from needs --data FILE: the noisy data of the logs"),
        (FROM[:6], "--from needs --safe FILE: the safe data of the logs"),
        (("filter", "--from", "before", "nowhere", *FROM[4:]), "nowhere has no shards"),
        ((*FROM, "filter.rul=phi"), "Did you mean: 'rule'?"),
        ((*FROM[:4], "--data", "no.jsonl", *FROM[6:]), "no.jsonl is missing"),
        (("filter",), "filter needs a CONFIG or a run folder, or --from BEFORE AFTER"),
    ],
)
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    # The exit code is 2, one line is printed, and no run folder is left.
    assert call(*words) == 2
    shown = capsys.readouterr().err
    assert said in shown and len(shown.splitlines()) == 1 and not Path("runs").exists()


def test_logs_of_other_rows_are_told_with_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    # Logs with an id too few, or with one that is in no set, are refused with the function that gives the ids.
    known = pl.read_parquet(shard_path(Path("before"), 0, 0))["id"].to_list()
    for names, said in ((known[:-1], "no row for 1 of 11 ids"), ([*known, "foreign"], "rows for 1 ids that the data")):
        for state in ("before", "after"):
            log(state, names, 0.0)
        assert call(*FROM) == 2
        shown = capsys.readouterr().err
        assert said in shown and "forgetfilter.api.ids" in shown
