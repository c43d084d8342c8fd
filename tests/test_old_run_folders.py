"""A run folder that was made when two settings had other names, with the hashes that its stages were recorded with."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from forgetfilter.config.load import load_config
from forgetfilter.config.schema import AUTO_NUMBERS
from forgetfilter.errors import UserError
from forgetfilter.files import write_json
from forgetfilter.pipeline import STAGES
from forgetfilter.storage.run_folder import Run

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
