import json
from pathlib import Path
from typing import Any

import pytest
from forgetfilter.train.zero import GATHER, SIZES, offloads, settings

from forgetfilter.config.schema import ScheduleConfig
from forgetfilter.errors import UserError

SCHEDULE = ScheduleConfig(lr=1e-3, max_grad_norm=0.5)


def read(tmp_path: Path, value: Any, method: str = "full") -> dict[str, Any]:
    file = tmp_path / "ds.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return settings(str(file), method, "noisy", SCHEDULE)


def test_what_the_run_decides_is_auto(tmp_path: Path) -> None:
    # A file that does not mention it, or has the same value, is merged; its other settings stay.
    same = {"type": "AdamW", "params": {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "torch_adam": True}}
    merged = read(tmp_path, {"zero_optimization": {"stage": 2}, "gradient_clipping": 0.5, "optimizer": same, "x": 1})
    assert [merged[key] for key in (*SIZES, "gradient_clipping")] == ["auto"] * 4
    assert merged["optimizer"]["params"] == dict.fromkeys(("lr", "betas", "eps", "weight_decay"), "auto") | {
        "torch_adam": True
    }
    assert merged["bf16"] == {"enabled": "auto"} and merged["zero_optimization"] == {"stage": 2} and merged["x"] == 1


def test_zero3_saves_its_weights(tmp_path: Path) -> None:
    # DeepSpeed gathers them only if told to, and a full model would be saved without any. An adapter is whole without
    # it.
    zero3 = {"zero_optimization": {"stage": 3}}
    assert read(tmp_path, zero3)["zero_optimization"][GATHER] is True
    turned_off = {"zero_optimization": {"stage": 3, GATHER: False}}
    assert read(tmp_path, turned_off, "lora")["zero_optimization"][GATHER] is False
    with pytest.raises(UserError, match=rf"ds\.json: zero_optimization\.{GATHER} is false, .* write true$"):
        read(tmp_path, turned_off, "full")


def test_what_is_offloaded_is_known_by_name_and_file(tmp_path: Path) -> None:
    # A name or a file tells whether the optimizer's states or the weights are offloaded, and the device none is no
    # offload.
    assert [offloads(name) for name in (None, "zero2", "zero3_offload")] == [False, False, True]
    file = tmp_path / "ds.json"
    for zero, expected in (
        ({"stage": 2}, False),
        ({"stage": 2, "offload_optimizer": {"device": "none"}}, False),
        ({"stage": 3, "offload_param": {"device": "cpu"}}, True),
    ):
        file.write_text(json.dumps({"zero_optimization": zero}))
        assert offloads(str(file)) is expected
