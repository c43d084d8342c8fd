"""The whole pipeline from the command line, on a tiny random model: golden numbers, ranks, reruns, other rules."""

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from forked import killed_at, start
from planted import holding, plant, said
from wandb_files import Kept

from forgetfilter import cli, pipeline
from forgetfilter.config.load import load_config
from forgetfilter.files import read_json, sha256_file, write_json
from forgetfilter.report.card import make_card
from forgetfilter.report.stage import settings
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import merged, shard_paths

pytestmark = pytest.mark.usefixtures("forked_ranks")
GOLDEN = Path(__file__).parent / "golden" / "pipeline.json"


@pytest.fixture(scope="module", autouse=True)
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of this file's pipeline, with secrets planted around it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as environment:
        plant(environment, folder)
        yield folder


@pytest.fixture(scope="module")
def finished(own: Path, tiny_model: Path) -> Path:
    """A finished run folder; the config file, and what the command said, lie beside the folder of runs."""
    write_inputs(own, tiny_model)
    with said(own / "said"), pytest.raises(SystemExit) as end:
        cli.main(["run", str(own / "config.yaml")])
    assert end.value.code == 0
    return own / "runs" / "finished"


def write_inputs(folder: Path, model: Path) -> None:
    def rows(start: int, number: int, label: str) -> list[dict[str, Any]]:
        return [
            {"prompt": f"what is {n} of {label}?", "completion": f"it is {label} {n * 7}", "label": label}
            for n in range(start, start + number)
        ]

    def write(name: str, lines: list[dict[str, Any]]) -> None:
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    write("noisy.jsonl", [*rows(0, 9, "unsafe"), *rows(0, 8, "safe"), *rows(0, 6, "task")])
    write("safe.jsonl", rows(100, 10, "safe"))
    write("harm.jsonl", [{"prompt": f"do harm {n}"} for n in range(5)])
    write("task.jsonl", [{"prompt": f"task {n}", "reference": f"{n}", "metric": "exact"} for n in range(5)])
    (folder / "config.yaml").write_text(
        f"name: finished\noutput: {folder}/runs\ncache: {folder}/cache\n"
        f"model: {{name: {model}, dtype: float32}}\n"
        f"data: {{noisy: {{web: {{path: {folder}/noisy.jsonl}}}}, safe: {{ours: {{path: {folder}/safe.jsonl}}}},\n"
        "  batch_tokens: 200}\n"
        "train:\n"
        "  noisy: {epochs: 3, lr: 2e-2, batch_size: 4}\n"
        "  safe: {epochs: 2, lr: 2e-2, batch_size: 4}\n"
        "  refit: {epochs: 1, lr: 2e-2, batch_size: 4}\n"
        "filter: {signal: relative_loss_rise, rule: quantile}\n"
        "score: {shard_rows: 6, base: true, tokens: true, noise: true}\n"
        f"eval: {{data: {{harmfulness: {{path: {folder}/harm.jsonl}}, task: {{path: {folder}/task.jsonl}}}}, "
        "max_new_tokens: 4, judge: {url: 'https://me:${oc.env:JUDGE_PASSWORD}@127.0.0.1/v1'}}\n"
        "tracking: {mode: offline}\n"
    )


def numbers(run: Path) -> dict[str, Any]:
    """What a reviewer can read: losses before and after by label, and what was dropped."""
    decisions = pl.read_parquet(run / "filter" / "decisions.parquet")
    means = decisions.group_by("label").agg(pl.col("before_loss", "after_loss").mean().round(3)).sort("label")
    summary = json.loads((run / "filter" / "summary.json").read_text())
    return {"losses": means.to_dicts(), "by_label": summary["by_label"], "dropped": summary["dropped"]}


def test_the_pipeline_gives_the_golden_numbers(finished: Path) -> None:
    # Losses agree to 0.02 nats, and the counts of the filter exactly, with tests/golden/pipeline.json. A commit that
    # changes these numbers needs a reason.
    golden, found = json.loads(GOLDEN.read_text()), numbers(finished)
    assert found["dropped"] == golden["dropped"] == 7  # 30% of 23
    for expected, row in zip(golden["losses"], found["losses"], strict=True):
        assert row["label"] == expected["label"]
        for key in ("before_loss", "after_loss"):
            assert row[key] == pytest.approx(expected[key], abs=0.02)


def test_every_file_of_the_layout_is_there(finished: Path) -> None:
    # The run folder has every promised file, and one offline W&B run for each stage.
    for name in [
        "config.yaml",
        "state.json",
        "data/noisy.jsonl",
        "data/safe.jsonl",
        "train/noisy/adapter_model.safetensors",
        "train/safe/adapter_model.safetensors",
        "train/refit/adapter_model.safetensors",
        "train/refit/losses/manifest.json",
        "signals/before/manifest.json",
        "signals/after/manifest.json",
        "filter/decisions.parquet",
        "filter/kept.jsonl",
        "filter/dropped.jsonl",
        "filter/summary.json",
        "eval/base/harmfulness/metrics.json",
        "eval/refit/task/scores.parquet",
        "eval/metrics.md",
        "eval/metrics.tex",
        "report.html",
        "card.json",
    ]:
        assert (finished / name).exists(), name
    assert all(entry["status"] == "done" for entry in json.loads((finished / "state.json").read_text()).values())
    tracked = {path.name.split("-")[3] for path in (finished / "wandb").glob("offline-run-*")}
    assert len(tracked) == 7  # three finetunings, the scoring, the filter, the evaluation and the report
    assert list((finished / "wandb").rglob("metrics_*.table.json"))


@pytest.mark.parametrize("setting", [
    "model.name=${oc.env:DATA_ADDRESS}", "data.noisy.web.path=${oc.env:DATA_ADDRESS}",
    "train.noisy.lr=${oc.env:OPENAI_API_KEY}", "train.noisy.lr=${oc.env:DATA_ADDRESS}", "name=${oc.env:HF_TOKEN}/x",
    "filter.signal=${oc.env:HF_TOKEN}", "train.deepspeed=${oc.env:JUDGE_PASSWORD}", "eval.judge.name=endpoint",
    "eval.judge.key_variable=planted-judge-key", "hf_planted=1", "output=/proc/${oc.env:HF_TOKEN}",
])  # fmt: skip
def test_a_refused_command_tells_no_secret(own: Path, finished: Path, tmp_path: Path, setting: str) -> None:
    # Its line names the key, whatever stands in its place.
    with said(tmp_path / "said"), pytest.raises(SystemExit) as end:
        cli.main(["run", str(own / "config.yaml"), f"output={tmp_path}/runs", setting])
    assert end.value.code == 2 and b"forgetfilter: " in (tmp_path / "said").read_bytes()
    assert holding(tmp_path) == []


def test_no_secret_is_written_or_said(own: Path, finished: Path, tmp_path: Path) -> None:
    # It is not in the run folder's config, report, card, logs and W&B files, which say where the password comes from,
    # nor in what the command has said, nor in the traceback of a bug that has all of the environment in its words.
    held = [path for path in finished.rglob("*") if path.is_file()]
    for kind in ("config.yaml", "report.html", "card.json", ".wandb"):
        reference = b"{oc.env:JUDGE_PASSWORD}"
        assert [path for path in held if path.name.endswith(kind) and reference in path.read_bytes()], kind
    assert holding(finished, own / "said") == [] and len((own / "said").read_bytes()) > 500
    with pytest.MonkeyPatch.context() as patched, said(tmp_path / "said"):
        patched.setattr(sys, "excepthook", sys.excepthook)
        patched.setattr(pipeline, "preflight", lambda config: config.no_such_setting[str(dict(os.environ))])
        patched.setattr(type(load_config(own / "config.yaml")), "no_such_setting", {}, raising=False)
        with pytest.raises(KeyError) as bug:
            cli.main(["run", str(own / "config.yaml")])
        sys.excepthook(KeyError, bug.value, bug.tb)
    assert b"KeyError" in (tmp_path / "said").read_bytes() and holding(tmp_path) == []
    assert holding(own) == sorted([own / ".netrc", own / ".git" / "config"])  # the test is not blind


@pytest.fixture(scope="module")
def tracked(finished: Path) -> dict[str, Kept]:
    """W&B's offline files of the stages."""
    return {name: Kept(finished, name) for name in ("train-noisy", "train-refit", "score", "filter", "eval", "report")}


def test_what_is_tracked_can_be_read_back(finished: Path, tracked: dict[str, Kept]) -> None:
    # W&B's offline files of each stage hold its curves, figures and tables.
    kept, summary = tracked, read_json(finished / "filter" / "summary.json")
    steps = kept["train-noisy"].history
    logged = [json.loads(line) for line in (finished / "train/noisy/metrics.jsonl").read_text().splitlines()]
    assert [step["loss/web"] for step in steps] == [line["loss/web"] for line in logged]
    assert [step["epoch"] for step in steps][5::6] == [1, 2, 3] and all(step["tokens_per_second"] > 0 for step in steps)
    assert [step["loss/web"] for step in steps] == pytest.approx([step["loss"] for step in steps], rel=1e-4)
    assert all(step["memory_gb"] > 0 for step in steps)

    before = pl.read_parquet(finished / "signals" / "before" / "*" / "*.parquet")
    mean = before["loss_sum"].sum() / before["num_tokens"].sum()
    assert kept["score"].summary["loss/before"] == pytest.approx(mean)
    assert kept["score"].table("loss by source")[0] | {"after": 0} == {
        "source": "web", "examples": 23, "before": pytest.approx(mean), "after": 0
    }  # fmt: skip
    assert sum(kept["score"].summary["losses/after.values"]) == 23

    told = kept["filter"].summary
    assert (told["kept"], told["dropped"]) == (summary["kept"], summary["dropped"])
    assert (sum(told["scores/kept.values"]), sum(told["scores/dropped.values"])) == (summary["kept"], 7)
    rows = kept["filter"].table("dropped")
    dropped = [json.loads(line) for line in (finished / "filter" / "dropped.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [row["id"] for row in dropped]
    assert {row["prompt"] for row in rows} == {"masked (5 words)"}

    figures = {key for key in kept["eval"].summary if key.endswith("/refit")}
    assert figures == {"harmfulness/attack_success_rate/refit", "task/exact_match/refit"}
    metrics = kept["eval"].table("metrics")
    assert {row["metric"] for row in metrics if row["suite"] == "task"} == {
        *read_json(finished / "eval" / "refit" / "task" / "metrics.json")["metrics"]
    }


def test_what_is_tracked_says_what_it_was_made_of(finished: Path, tracked: dict[str, Kept]) -> None:
    # The files of each stage hold the versions, the data's hashes and what was made of what; no text of a row, and no
    # file but by its place.
    noisy, kept = sha256_file(finished / "data" / "noisy.jsonl"), tracked
    for one in kept.values():
        assert one.config["data_hashes"]["data/noisy.jsonl"] == noisy and f"data {noisy[:12]}" in one.tags
        assert one.config["versions"]["torch"] and one.config["seed"] == 0
    for stage, name, file in (
        ("train-noisy", "finished-noisy-model", "train/noisy/adapter_model.safetensors"),
        ("filter", "finished-kept-data", "filter/kept.jsonl"),
        ("report", "finished-report", "report.html"),
    ):
        assert kept[stage].artifacts[name][file] == ((finished / file).as_uri(), (finished / file).stat().st_size)
    assert {*kept["train-refit"].config["used"]} == {"finished-kept-data", "finished-safe-data"}
    assert {*kept["filter"].config["used"]} == {"finished-noisy-data", "finished-signals"}
    assert (
        kept["report"].config["used"]["finished-kept-data"] == kept["train-refit"].config["used"]["finished-kept-data"]
    )
    for path in (finished / "wandb").rglob("*"):
        assert not path.is_file() or b"what is" not in path.read_bytes(), path


def test_what_the_scoring_stores_when_asked(finished: Path) -> None:
    # M0's losses, M1's losses in other batches, and the rises of the tokens become signals. float16 keeps the sums to
    # 1%, and the same model scored twice differs only by float32's rounding.
    summary = json.loads((finished / "filter" / "summary.json").read_text())
    assert {"base_loss", "learned_share_lost", "top_token_rise", "variability"} <= set(
        summary["quality"]["all_signals"]
    )
    assert 0 <= summary["noise"]["floor"] < 1e-3
    before = pl.read_parquet(finished / "signals" / "before" / "*" / "*.parquet")
    assert (before["token_losses"].list.len() == before["num_tokens"]).all()
    assert (before["token_correct"].list.len() == before["num_tokens"]).all()
    total = before["token_losses"].cast(pl.List(pl.Float64)).list.sum()
    assert total.to_list() == pytest.approx(before["loss_sum"].to_list(), rel=0.01, abs=0.01)


def test_the_same_command_again_does_nothing_again(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every stage is skipped, and the last line of stdout is the run folder. Another password does not make another run.
    monkeypatch.setenv("JUDGE_PASSWORD", "of-today")
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.safetensors")}
    with pytest.raises(SystemExit) as end:
        cli.main(["run", str(finished.parent.parent / "config.yaml")])
    assert end.value.code == 0
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*.safetensors")} == before
    assert capsys.readouterr().out.strip().splitlines()[-1] == str(finished)


def test_another_rule_needs_no_model(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `filter RUN filter.rule=top_k` decides from stored signals while every way to load a model is barred.
    copy = shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    with pytest.raises(SystemExit) as end:
        cli.main(["filter", str(copy), "filter.rule=top_k", "filter.top_k=3"])
    assert end.value.code == 0
    assert json.loads((copy / "filter" / "summary.json").read_text())["dropped"] == 3


def test_a_refit_on_another_decision_has_no_say(finished: Path, tmp_path: Path) -> None:
    # The card shows the refit until another decision is made. Then it names the commands that bring the refit up to
    # date, which do so and rewrite page and card. The same holds where the refit was measured before it was trained.
    run = Run.open(shutil.copytree(finished, tmp_path / "copy"))
    train, evaluate = f"forgetfilter train {run.folder} refit", f"forgetfilter eval {run.folder}"

    def told(run: Run, card: Any = None) -> tuple[bool, list[str]]:
        card = card or make_card(settings(run, pipeline.stale(run)))
        models = {model for measured in card["metrics"]["task"].values() for model in measured}
        assert not any("not run on" in sentence and "refit" in sentence for sentence in card["missing"])
        return "refit" in models, [card["stale"]["mend"]] if card["stale"] else []

    assert told(run) == (True, [])
    state = run.state()
    other = state["eval"] | {"read": {"train-refit": "another one's weights"}}
    back = state["eval"] | {"start": "2000-01-01T00:00:00+00:00"}  # a clock that was set back has no say
    old = {key: value for key, value in back.items() if key != "read"}  # but in a run from before weights were noted
    for entry, expected in ((other, (False, [evaluate])), (back, (True, [])), (old, (False, [evaluate]))):
        write_json(run.folder / "state.json", state | {"eval": entry})
        assert told(run) == expected
    write_json(run.folder / "state.json", state)
    for words, found in {
        ("filter", "filter.rule=top_k", "filter.top_k=3"): (False, [f"{train} && {evaluate}"]),
        ("train", "refit"): (False, [evaluate]),
        ("eval",): (True, []),
    }.items():
        with pytest.raises(SystemExit) as end:
            cli.main([words[0], str(run.folder), *words[1:]])
        card, page = json.loads((run.folder / "card.json").read_text()), (run.folder / "report.html").read_text()
        assert end.value.code == 0 and told(run) == told(run, card) == found
        assert card["dropped"] == 3 and ('class="stamp"' in page) == bool(found[1])


def test_a_model_that_was_deleted_is_trained_anew_where_it_is_named(finished: Path, tmp_path: Path) -> None:
    # eval says which stage to run, and that stage does not say that it is done.
    copy = shutil.copytree(finished, tmp_path / "gone")
    before = {path.name: path.read_bytes() for path in (copy / "train" / "refit").glob("*.safetensors")}
    shutil.rmtree(copy / "train" / "refit")
    with pytest.raises(SystemExit) as end:
        cli.main(["train", str(copy), "refit"])
    assert end.value.code == 0 and before
    assert {path.name: path.read_bytes() for path in (copy / "train" / "refit").glob("*.safetensors")} == before


def score(finished: Path, folder: Path, processes: int) -> Path:
    copy = shutil.copytree(finished, folder)
    shutil.rmtree(copy / "signals")
    config = load_config(copy / "config.yaml", [f"launch.processes={processes}", "launch.threads=1"])
    stage = pipeline.BY_NAME["score"]
    (copy / "state.json").write_text(
        json.dumps({k: v for k, v in json.loads((copy / "state.json").read_text()).items() if k != "score"})
    )
    pipeline.run_stage(Run(copy, config), stage)
    return copy


def test_one_two_and_three_ranks_score_the_same_to_the_byte(finished: Path, tmp_path: Path) -> None:
    # Batches are planned once and handed to ranks whole, so the merged rows are equal, and so are the kept rows.
    results = []
    for processes in (1, 2, 3):
        copy = score(finished, tmp_path / f"ranks{processes}", processes)
        ids = [json.loads(line)["id"] for line in (copy / "data" / "noisy.jsonl").read_text().splitlines()]
        frames = [merged(copy / "signals" / state, ids).rows() for state in ("before", "after")]
        assert len({path.parent for path in shard_paths(copy / "signals" / "before")}) == processes
        results.append(frames)
    assert results[0] == results[1] == results[2]


def test_scoring_goes_on_from_whole_shards(finished: Path, tmp_path: Path) -> None:
    # With one shard lost and the manifest not written, only the batches of that shard are scored again, this time by
    # two ranks.
    copy = shutil.copytree(finished, tmp_path / "half")
    whole = merged(copy / "signals" / "after").rows()
    lost, *left = shard_paths(copy / "signals" / "after")
    lost.unlink()
    (copy / "signals" / "after" / "manifest.json").unlink()
    times = {path: path.stat().st_mtime_ns for path in left}
    from forgetfilter.process.launch import launch

    launch("forgetfilter.score.__main__", [str(copy)], 2, 1)
    assert {path: path.stat().st_mtime_ns for path in left} == times
    again = merged(copy / "signals" / "after")
    assert again.rows() == whole


@pytest.mark.parametrize(
    ("stage", "files"),
    [
        ("mix", ["data/noisy.jsonl", "data/safe.jsonl", "data/eval/task.jsonl"]),
        ("filter", ["filter/kept.jsonl", "filter/dropped.jsonl", "filter/decisions.parquet", "filter/summary.json"]),
        ("report", ["report.html"]),
    ],
)
def test_a_stage_of_one_process_is_killed_at_any_of_its_files(
    finished: Path, tmp_path: Path, stage: str, files: list[str]
) -> None:
    # kill -9 comes just before it puts its first file in place, then its second, and so on. It begins anew each time,
    # and in the end its files are those of the undisturbed run.
    run = shutil.copytree(finished, tmp_path / "runs" / "finished")
    state = json.loads((run / "state.json").read_text())
    (run / "state.json").write_text(json.dumps({name: entry for name, entry in state.items() if name != stage}))
    for file in files:
        (run / file).unlink()
    words = [stage, str(finished.parent.parent / "config.yaml"), f"output={tmp_path}/runs"]
    for kills in itertools.count():
        process = start(killed_at, kills, words)
        process.join()
        if process.exitcode != -signal.SIGKILL:
            break
    assert kills > len(files) and process.exitcode == 0
    assert json.loads((run / "state.json").read_text())[stage]["status"] == "done"
    for file in files:
        assert stage == "report" or (run / file).read_bytes() == (finished / file).read_bytes()
