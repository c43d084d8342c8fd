"""The share of a device's ceiling."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from forgetfilter.config.schema import LoraConfig
from forgetfilter.models import ceiling as module
from forgetfilter.models.ceiling import Arithmetic, Asked, arithmetic, ceiling
from forgetfilter.models.plan.costs import Shape
from forgetfilter.process.distributed import World

CPU, ALONE = torch.device("cpu"), World(0, 1, 0)
LENGTHS, LABELS = np.array([4, 6]), np.array([1, 2])


def test_operations_are_those_of_the_plan() -> None:
    # A scoring has one pass, a training by adapters two and in full three: 21,340 operations each (test_plan.py).
    shape = Shape(multiplied=1000, head=50, attended=10)
    found = [Arithmetic(shape, 1e9, trained).operations(LENGTHS, LABELS) for trained in (None, False, True)]
    assert found == [21_340, 2 * 21_340, 3 * 21_340]


def test_the_ceiling_is_measured_once_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A second call reads what the first has measured, another type is measured anew, and so is a file that is damaged.
    measured: list[torch.dtype] = []

    def measure(device: torch.device, dtype: torch.dtype) -> float:
        measured.append(dtype)
        return 5e9

    monkeypatch.setattr(module, "_measured", measure)
    assert [ceiling(CPU, dtype, tmp_path) for dtype in ("float32", "float32", "bfloat16")] == [5e9] * 3
    assert measured == [torch.float32, torch.bfloat16]
    for file in (tmp_path / "ceilings").iterdir():
        told = json.loads(file.read_text())
        assert told["torch"] == torch.__version__ and told["device"] and told["threads"] == torch.get_num_threads()
        file.write_text(file.read_text()[:-9])
    assert ceiling(CPU, "float32", tmp_path) == 5e9 and len(measured) == 3


def test_a_product_is_timed_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    # The rate is that of a real product: 2 * n^3 operations in the shortest of the times taken.
    monkeypatch.setattr(module, "LARGEST", 512)
    monkeypatch.setattr(module, "_seconds", lambda first, second: 0.5 if len(first) == 512 else 0.0)
    assert module._measured(CPU, torch.float32) == 2 * 512**3 / 0.5
    monkeypatch.undo()
    assert module._seconds(torch.ones(64, 64), torch.ones(64, 64)) > 0


def known(folder: Path, cache: Path, **more: Any) -> Arithmetic | None:
    return arithmetic(Asked(folder, "float32", cache, **more), LENGTHS, LABELS, ALONE)


def test_the_parameters_of_a_model_are_counted_from_its_config(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # config.json alone is enough, and weights of 4 bits or of another rank need not be counted: two layers of 32 * 32
    # (queries and output), 2 * 32 * 16 (keys and values), 3 * 32 * 64 and two norms, the last norm, and adapters of
    # rank 8 on queries and values. A short pass has no share, and nothing is measured for it.
    assert known(tiny_model, tmp_path) is None and not list(tmp_path.iterdir())
    monkeypatch.setattr(module, "LEAST", 1)
    monkeypatch.setattr(module, "_measured", lambda *_: 5e9)
    found = known(tiny_model, tmp_path)
    base = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32) + 32
    assert found is not None and found.shape == Shape(base, 320 * 32, 2 * 4 * 8) and found.ceiling == 5e9
    adapted = known(tiny_model, tmp_path, lora=LoraConfig(), trained=False)
    assert adapted is not None and adapted.shape.multiplied == base + 2 * 8 * (32 + 32 + 32 + 16)


def test_what_cannot_be_counted_has_no_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A token of a mixture of experts goes through some of its matrices, and state spaces mix tokens in other ways.
    monkeypatch.setattr(module, "LEAST", 1)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 64}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    for kind, more in {"mixtral": {**heads, "num_local_experts": 2}, "mamba": {}, "granitemoe": heads}.items():
        AutoConfig.for_model(kind, **small, **more).save_pretrained(tmp_path / kind)
        assert known(tmp_path / kind, tmp_path) is None
