import dataclasses
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from forgetfilter.config.schema import LoraConfig
from forgetfilter.errors import UserError
from forgetfilter.models.disk_space import Work, check_room, trained_parameters
from forgetfilter.models.lora_targets import ALL
from forgetfilter.models.memory import sized

SMALL = Work(1000, False, False, "adamw", [30, 10], 10, 400, 5000)


def test_what_a_run_needs_by_hand() -> None:
    # 1,000 parameters of an adapter take 4,000 bytes a model and 12,000 a checkpoint, of which three stand after 30
    # steps in tens, and 400 rows are logged; in full under DeepSpeed it is 2,000 and 14,000 bytes.
    assert (SMALL.model, SMALL.checkpoints, SMALL.logs) == (4000, 36_000, 50_000)
    deep = dataclasses.replace(SMALL, full=True, copies=True, steps=[15], checkpoint_steps=10)
    assert (deep.model, deep.checkpoints) == (2000, 28_000)
    assert dataclasses.replace(SMALL, checkpoint_steps=0).checkpoints == 12_000  # one, on a signal


def test_sizes_are_told_in_a_fitting_unit() -> None:
    # Three digits that count, and no powers of ten.
    sizes = {
        22_000: "22 kB",
        99_999: "100 kB",
        239_000: "0.239 MB",
        4.93e9: "4.93 GB",
        1.2345e12: "1234 GB",
        5: "0.005 kB",
    }
    assert {size: sized(size) for size in sizes} == sizes


def test_a_disk_that_cannot_hold_it_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One line has the sum and its parts, and what an earlier try left in the folder counts as room.
    assert "needs about 94 kB of disk (2 models 8 kB" in check_room(tmp_path, SMALL)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 10**6, 90_000))
    with pytest.raises(UserError, match=r"^output: .* needs about 94 kB .*; 90 kB are free: make room"):
        check_room(tmp_path, SMALL)
    (tmp_path / "left").write_bytes(b"x" * 4000)
    check_room(tmp_path, SMALL)


def test_trained_parameters_are_those_of_the_model(tiny_model: Path) -> None:
    # All parameters are trained, or rank times the sides of each layer that gets an adapter, however it is named.
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert trained_parameters(tiny_model, None) == sum(one.numel() for one in model.parameters())
    layers = [one for name, one in model.named_modules() if name.endswith("q_proj")]
    queries = sum(3 * sum(one.weight.shape) for one in layers)
    for name in ("q_proj", "self_attn.q_proj"):
        assert trained_parameters(tiny_model, LoraConfig(r=3, target_modules=[name])) == queries > 0
    assert trained_parameters(tiny_model, LoraConfig(r=3, target_modules=[ALL])) > 3 * queries


def test_a_lean_optimizer_needs_less_of_the_disk() -> None:
    # In each of three checkpoints of 1,000 trained parameters the states take 8, 2 or 1 bytes a parameter.
    sizes = [dataclasses.replace(SMALL, optimizer=name).checkpoints for name in ("adamw", "adamw_8bit", "adafactor")]
    assert [sizes[0] - size for size in sizes] == [0, 3 * 1000 * 6, 3 * 1000 * 7]
