"""Run folders of earlier days: one with the hashes of when two settings had other names, and a whole one.

old_runs/2026-11-26 is a run of a tiny model by commit c13c6d2, the last before the core got its rooms and stages their
sums; report.html and the cards of the adapters were taken out, and the path of its source made relative.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import yaml
from safetensors.numpy import save_file

from forgetfilter.cli import main
from forgetfilter.config.load import load_config
from forgetfilter.config.schema import AUTO_NUMBERS
from forgetfilter.errors import UserError
from forgetfilter.files import read_json, write_json
from forgetfilter.pipeline import STAGES, run_stage, stages_of
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import COMPARABLE, LOSS_SCHEMA, shard_path, write_manifest, write_shard

CONFIG = """\
# forgetfilter: 0.1.0
name: old
output: .
cache: ./cache
model: {name: ./model}
data:
  max_length: 64
  noisy: {web: {path: noisy.jsonl}}
  safe: {ours: {path: safe.jsonl}}
train: {packing: false, micro_batch_tokens: 256}
score: {batch_tokens: 123}
eval: {models: [base], suites: [task]}
"""
# As these stages of this folder were hashed when the settings were train.packing and score.batch_tokens.
HASHES = {
    "train-noisy": "d59f9cdba47d81ce96813a0bd4eef091f6eb8ec7ae3a97378dfe695e0e3c3ed9",
    "train-safe": "97adabb9cbc2fdfa6efda3899ae5d53ff1a69b423102218880d8e8601fe70867",
    "score": "f543e689617a6811afdbe52ac48f6f99dcc1be57f68b82c4113dbcf6bdef5447",
    "train-refit": "c7827fbdd7fe3c3e6748339ec6cbebe047d8b4dafba915939066664142881ca5",
    "eval": "2caef4ae8ae00b14d878f7432f9a1669dfc08033765266e7a2cad8ac90ec93a2",
}


@pytest.fixture
def old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which every stage but eval is done; its model is no more than a file to be hashed."""
    monkeypatch.chdir(tmp_path)  # the hashes hold the model's name: a relative one is the same everywhere
    Path("model").mkdir()
    write_json(Path("model/config.json"), {"model_type": "llama"})
    save_file({"weight": np.zeros(2, np.float32)}, Path("model/model.safetensors"))
    folder = Path("old")
    (folder / "data" / "eval").mkdir(parents=True)
    (folder / "filter").mkdir()
    for path in ("data/noisy.jsonl", "data/safe.jsonl", "filter/kept.jsonl", "data/eval/task.jsonl"):
        (folder / path).write_text(f'{{"id": "{path}"}}\n')
    (folder / "config.yaml").write_text(CONFIG)
    names = ("mix", "train-noisy", "train-safe", "score", "filter", "train-refit")
    write_json(folder / "state.json", {name: {"status": "done", "input_hash": name, "seconds": 1} for name in names})
    return folder


def test_its_stages_are_done_with_the_same_inputs(old_run: Path) -> None:
    # Nothing is trained, scored or measured again because two settings moved to another section.
    run = Run.open(old_run)
    stages = {stage.name: stage for stage in STAGES}
    assert {name: stages[name].task(run).input_hash() for name in HASHES} == HASHES


def test_it_is_reopened_by_the_new_names(old_run: Path) -> None:
    # The old names in its own file are read, the new ones are written, and a config with the new names is the same run.
    config = Run.open(old_run).config
    assert (config.data.packing, config.data.batch_tokens) == (False, 123)
    Run.create(config)
    written = yaml.safe_load((old_run / "config.yaml").read_text())
    assert (written["data"]["packing"], written["data"]["batch_tokens"]) == (False, 123)
    assert "packing" not in written["train"] and "batch_tokens" not in written["score"]


def test_what_it_was_made_with_holds_where_the_default_is_another_now(old_run: Path) -> None:
    # The folder is older than two settings, and is read as it was made; a config file that does not name them is told
    # what it would change.
    run = Run.open(old_run)
    assert (run.config.train.refit.data, run.config.filter.confidence) == ("kept", 0.975)
    assert Run.open(old_run, ["filter.confidence=auto"]).config.filter.confidence == "auto"
    mine = Path("mine.yaml")
    mine.write_text(CONFIG.replace("train: {packing: false,", "train: {").replace("score: {batch_tokens: 123}\n", ""))
    told = run.changed_settings(load_config(mine, ["data.packing=false", "data.batch_tokens=123"]))
    assert told == ["filter.confidence: 0.975 -> 'auto'", "train.refit.data: 'kept' -> 'kept_and_trusted'"]


@pytest.mark.parametrize("override", ["train.packing=true", "score.batch_tokens=7"])
def test_an_old_name_is_refused_where_a_user_writes_it(old_run: Path, override: str) -> None:
    # One line gives the new name for an old one in a file, as an override, and as an override for a run folder.
    old = override.partition("=")[0]
    mine = Path("mine.yaml")
    for text, overrides in ((f"{old.replace('.', ': {')}: 1}}\n", []), ("seed: 1\n", [override])):
        mine.write_text(text)
        with pytest.raises(UserError, match=rf"^{old} is called data\.\w+ now: write the new name$"):
            load_config(mine, overrides)
    with pytest.raises(UserError, match=rf"^{old} is called data\.\w+ now"):
        Run.open(old_run, [override])


def test_a_folder_by_the_numbers_of_before_is_the_run_by_auto(old_run: Path, tmp_path: Path) -> None:
    # The same command goes on where the defaults were numbers: no setting has changed, and no stage is done again.
    numbers = [f"{key}={number}" for key, number in AUTO_NUMBERS.items()]
    autos = [f"{key}=auto" for key in AUTO_NUMBERS]
    before, now = (load_config(old_run / "config.yaml", chosen, own=True) for chosen in (numbers, autos))
    assert Run(old_run, before).changed_settings(now) == []
    other = load_config(old_run / "config.yaml", [*numbers, "train.micro_batch_tokens=7"], own=True)
    assert Run(old_run, other).changed_settings(now) == ["train.micro_batch_tokens: 7 -> 4096"]
    stages = {stage.name: stage for stage in STAGES}
    for name in HASHES:
        first, second = (stages[name].task(Run(old_run, config)).input_hash() for config in (before, now))
        assert first == second


# As the code recorded them before its files were moved to their present folders (the parent of eef67e1). Only mix and
# eval, of which more was hashed later, are those of the evening of 2026-11-28.
DONE = {
    "mix": "542cbfa1ad10d391c9783772e65966582ee1c6b46bf6955510d1507b81bcc4af",
    "train-noisy": "cc0836628d9bc4787e4f464ce8ff413ca84b2d1e96180c1949c49f830a2c5803",
    "train-safe": "fa21c49ab326bed7f29c95dd2d23492ae5f43ddaca17b4c02eacbabfc319985e",
    "score": "14b9c70a78235b4fe788bb3f1f97feb52cbde43cfe5d820b892a5264d2f78c40",
    "filter": "b125a5f0e48b5ac7191ba518a331b06a84fa20a68b49c88e80b85f8fda617edd",
    "train-refit": "d2d96b75fcdbff59d7bfb95e7e935e981d25fd25ac96443623eb0b92dd3d1975",
    "eval": "18e6b7452f82e60452833af19471a68fdee880ee21fb3cb570d108298976f59e",
}
SUMS = {"before": (2.0, 2.0, 2.0, 2.0), "after": (2.0, 3.0, 2.5, 1.0)}  # nats over 4 tokens of each row
# What the code of then wrote of the most forgotten row.
DROPPED = (
    '{"id": "%s", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b1"}], "source": '
    '"web", "label": null,"score":0.45454545454545453,"rank":1,"reason":"among the 75%% most forgotten"}' % ("1" * 64)
)


@pytest.fixture
def without_decision(old_run: Path) -> Path:
    """The folder with four scored rows, of which the files of the decision were deleted and a report was never made."""
    (old_run / "config.yaml").write_text(
        CONFIG + "filter: {rule: quantile, quantile: 0.75}\ntracking: {mode: disabled}\n"
    )
    for name in ("noisy", "safe"):
        Path(f"{name}.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    says = [[{"role": "user", "content": "a"}, {"role": "assistant", "content": f"b{n}"}] for n in range(4)]
    rows = [{"id": f"{n}" * 64, "messages": said, "source": "web", "label": None} for n, said in enumerate(says)]
    (old_run / "data" / "noisy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (old_run / "data" / "safe.jsonl").write_text('{"id": "s"}\n')
    (old_run / "data" / "eval" / "task.jsonl").write_text('{"id": "t"}\n')
    write_json(old_run / "data" / "summary.json", {})
    about = {"source": "web", "num_tokens": 4, "rank": 0, "step": 0, "epoch": 0}
    for state, sums in SUMS.items():
        scored = [{"id": row["id"], "loss_sum": loss} | about for row, loss in zip(rows, sums)]
        write_shard(shard_path(old_run / "signals" / state, 0, 0), pa.Table.from_pylist(scored, LOSS_SCHEMA))
        write_manifest(old_run / "signals" / state, dict.fromkeys(COMPARABLE, "same") | {"rows": 4})
    write_json(old_run / "signals" / "parts.json", list(SUMS))
    (old_run / "filter" / "kept.jsonl").unlink()
    entry = {"status": "done", "seconds": 1, "start": "2026-11-28T05:00:00+00:00"}
    write_json(old_run / "state.json", {name: entry | {"input_hash": known} for name, known in DONE.items()})
    return old_run


def test_it_is_resumed_where_its_files_end(without_decision: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Only the decision and the report are made. The decision is that of then to the byte, so that the refit on the kept
    # rows and its evaluation stay done; the models are not loaded, since there are none.
    before = read_json(without_decision / "state.json")
    run = Run.open(without_decision)
    for stage in stages_of(run.config):
        run_stage(run, stage)
    said = [line.partition(":") for line in capsys.readouterr().err.splitlines() if line]
    asked = [stage.name for stage in stages_of(run.config) if stage.wanted(run.config)]
    done = {name for name, _, words in said if words == " done already"}
    assert [name for name in asked if name not in done] == ["filter", "report"] and done == DONE.keys() - {"filter"}
    assert (without_decision / "filter" / "dropped.jsonl").read_text().splitlines()[0] == DROPPED
    assert '"b3"' in (without_decision / "filter" / "kept.jsonl").read_text()
    after = read_json(without_decision / "state.json")
    assert {name: after[name]["input_hash"] for name in done} == {name: before[name]["input_hash"] for name in done}
    assert (without_decision / "report.html").exists()


def test_a_whole_run_of_earlier_days_is_verified_decided_and_reported(tmp_path, monkeypatch, capsys):
    # Today's filter gives its scores and drops its rows to the last digit; the page and the card are written; verify
    # says which stages it cannot check; and a decision by another setting is made.
    monkeypatch.chdir(tmp_path)
    shutil.copytree(Path(__file__).parent / "old_runs" / "2026-11-26", "old_run")
    columns = ["id", "source", "label", "before_loss", "after_loss", "score", "rank", "drop"]
    old = pl.read_parquet("old_run/filter/decisions.parquet", columns=columns).sort("id")

    def said(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*words])
        assert not ended.value.code, words
        return " ".join("".join(capsys.readouterr()).split())

    assert "train-refit: no sums were noted" in said("verify", "old_run")
    said("filter", "old_run")
    assert pl.read_parquet("old_run/filter/decisions.parquet", columns=columns).sort("id").equals(old)
    said("report", "old_run")
    assert Path("old_run/report.html").exists() and read_json(Path("old_run/card.json"))["dropped"] == 8
    assert "6 files of 2 stages are as they were made" in said("verify", "old_run")
    assert "train old_run refit" in said("filter", "old_run", "filter.quantile=0.5")
