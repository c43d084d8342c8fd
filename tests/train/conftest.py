"""A run of a tiny model whose noisy data is there."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from forgetfilter.config.load import load_config
from forgetfilter.data.records import make_records, write_records
from forgetfilter.storage.run_folder import Run

LAYERS = ["train.lora.target_modules=[q_proj,v_proj]", "model.dtype=float32"]


def make(folder: Path, model: Path, name: str, *overrides: str) -> Run:
    file = folder / "config.yaml"
    file.write_text(
        f"output: {folder}/runs\ncache: {folder}/cache\nmodel: {{name: {model}}}\n"
        "data: {noisy: {toy: {path: x}}, safe: {toy: {path: x}}, max_length: 64}\n"
        "train: {noisy: {epochs: 2, lr: 1e-2, batch_size: 4}, checkpoint_steps: 2, micro_batch_tokens: 128}\n"
        "tracking: {mode: disabled}\n"
    )
    run = Run.create(load_config(file, [f"name={name}", *LAYERS, *overrides]))
    turns = [
        [{"role": "user", "content": "say " * (number % 4)}, {"role": "assistant", "content": f"word {number}"}]
        for number in range(14)
    ]
    write_records(run.noisy_data, make_records((messages, "toy", None) for messages in turns))
    with run.stage("mix", "by hand"):
        return run


@pytest.fixture
def make_run(tmp_path: Path, tiny_model: Path) -> Any:
    return partial(make, tmp_path, tiny_model)


@pytest.fixture(scope="module")
def make_shared(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Any:
    """As make_run, for what the tests of a file have in common."""
    return partial(make, tmp_path_factory.mktemp("shared"), tiny_model)
