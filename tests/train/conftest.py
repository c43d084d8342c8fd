"""A run of a tiny model whose noisy data is there."""

from pathlib import Path
from typing import Any

import pytest

from forgetfilter.config.load import load_config
from forgetfilter.data.records import make_records, write_records
from forgetfilter.storage.run_folder import Run

LAYERS = ["train.lora.target_modules=[q_proj,v_proj]", "model.dtype=float32"]


@pytest.fixture
def make_run(tmp_path: Path, tiny_model: Path) -> Any:
    def make(name: str, *overrides: str) -> Run:
        file = tmp_path / "config.yaml"
        file.write_text(
            f"output: {tmp_path}/runs\ncache: {tmp_path}/cache\nmodel: {{name: {tiny_model}}}\n"
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

    return make
