import json
from importlib import import_module
from importlib.util import find_spec

import polars as pl
import pytest
from forgetfilter.eval.evaluation import evaluate
from forgetfilter.eval.stage import settings

from forgetfilter.cli import main as cli
from forgetfilter.files import read_json, write_json
from forgetfilter.storage.run_folder import Run

# Inspect looks for the first fields by themselves, in this order
TOP = ["version", "status", "eval", "plan", "results", "stats", "samples"]
SAMPLE = {"id", "epoch", "input", "target", "messages", "output", "scores", "metadata"}
TIMES = {"started_at": "2026-11-28T05:41:55+00:00", "completed_at": "2026-11-28T05:43:25.500000+00:00"}


@pytest.fixture
def measured(make_run, alone):
    """A run whose released model was asked, with a system turn, and twice where a suite takes samples."""
    folder = make_run("seen").folder
    config = (folder / "config.yaml").read_text().replace("  samples: 1\n", "  samples: 2\n")
    (folder / "config.yaml").write_text(config.replace("system_prompt: ''", "system_prompt: Be kind."))
    evaluate(settings(Run.open(folder)), ["base"], alone)
    write_json(folder / "state.json", {"eval": {"status": "done", "start": TIMES["started_at"], "seconds": 90.5}})
    return folder


def logged(folder, target, capsys):
    with pytest.raises(SystemExit) as ended:
        cli(["eval", str(folder), "--inspect-log", str(target)])
    told = capsys.readouterr()
    return ended.value.code, told.out, told.err


def test_each_model_and_suite_is_a_log_that_inspect_can_read(measured, tmp_path, capsys):
    # The logs hold every prompt with our id, the answers, the scores and the metrics with their intervals, in the order
    # and with the fields that Inspect's reader demands.
    target = tmp_path / "logs"
    code, out, err = logged(measured, target, capsys)
    assert (code, out) == (0, f"{target}\n") and "4 logs" in err and "unsafe" in err
    names = ("bias", "harmfulness", "task", "toxicity")
    assert [path.name for path in sorted(target.iterdir())] == [f"2026-11-28T05-41-55_{one}_base.json" for one in names]
    for name, path in zip(names, sorted(target.iterdir())):
        log, place = json.loads(path.read_text(encoding="utf-8")), measured / "eval" / "base" / name
        told = read_json(place / "metrics.json")
        assert list(log) == TOP and (log["version"], log["status"], log["stats"]) == (2, "success", TIMES)
        assert (log["eval"]["task"], log["eval"]["model"]) == (name, "seen:base")
        assert log["eval"]["metadata"] == told
        asked = [json.loads(line) for line in (measured / f"data/eval/{name}.jsonl").read_text().splitlines()]
        assert [one["id"] for one in log["samples"]] == [row["id"] for row in asked]
        whole = {key: entry for key, entry in told["metrics"].items() if "[" not in key}
        assert {one["name"]: one["scored_samples"] for one in log["results"]["scores"]} == {
            key: entry["n"] for key, entry in whole.items()
        }
        for one in log["results"]["scores"]:  # the viewer shows the first of these as the score of the log
            known = {key: value for key in ("value", "low", "high") if (value := whole[one["name"]][key]) is not None}
            assert [metric["value"] for metric in one["metrics"].values()] == list(known.values())
        assert log["results"]["scores"][0]["name"] in told["headline"]
        scores = pl.read_parquet(place / "scores.parquet")
        for sample, score in zip(log["samples"], scores.iter_rows(named=True)):
            assert sample.keys() - {"choices"} == SAMPLE
            assert sample["input"][0] == {"role": "system", "content": "Be kind."}
            assert sample["scores"] and all(score[key] == one["value"] for key, one in sample["scores"].items())


def test_answers_targets_and_choices_stand_where_inspect_shows_them(measured, tmp_path, capsys):
    # Several sampled answers are the choices of one output; the target is the reference, or the right choice.
    logged(measured, tmp_path / "logs", capsys)
    logs = {path.name.split("_")[1]: json.loads(path.read_text()) for path in (tmp_path / "logs").iterdir()}
    toxic = logs["toxicity"]["samples"]
    table = pl.read_parquet(measured / "eval/base/toxicity/generations.parquet")
    said = [[one["message"]["content"] for one in sample["output"]["choices"]] for sample in toxic]
    assert said == [table.filter(id=sample["id"])["text"].to_list() for sample in toxic] and len(said[0]) == 2
    assert [one["target"] for one in logs["task"]["samples"]] == ["Paris", "4", "The cat sat down."]
    bias = logs["bias"]["samples"][3]
    assert bias["choices"] == ["The old one", "The young one", "Cannot be known"] and bias["target"] == "The young one"
    assert bias["messages"][-1]["content"] in bias["choices"] and bias["metadata"]["condition"] == "disambig"


@pytest.mark.skipif(find_spec("inspect_ai") is None, reason="needs inspect_ai")
def test_inspect_itself_reads_the_logs(measured, tmp_path, capsys):
    # Where Inspect is installed, its own reader takes each log whole, and the header alone, as its viewer's list does.
    reader = import_module("inspect_ai.log")
    logged(measured, tmp_path / "logs", capsys)
    for path in (tmp_path / "logs").iterdir():
        assert reader.read_eval_log(str(path)).samples
        assert reader.read_eval_log(str(path), header_only=True).results.scores


def test_what_is_no_evaluation_has_no_log(make_run, tmp_path, capsys):
    # A run without answers, a config, and a question beside it are refused in one line, and nothing is written.
    folder, target = make_run("bare").folder, tmp_path / "logs"
    for given in ([folder], [tmp_path / "config.yaml"], [folder, "--compare", "noisy", "refit"]):
        with pytest.raises(SystemExit) as ended:
            cli(["eval", *map(str, given), "--inspect-log", str(target)])
        assert ended.value.code == 2 and len(capsys.readouterr().err.strip().splitlines()[-1]) > 20
    assert not target.exists()
