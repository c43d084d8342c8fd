import json
from pathlib import Path
from typing import Any

import pytest
from forgetfilter.train.zero import GATHER, SIZES, settings

from forgetfilter.config.schema import ScheduleConfig
from forgetfilter.errors import UserError

SCHEDULE = ScheduleConfig(lr=1e-3, max_grad_norm=0.5)


def read(tmp_path: Path, value: Any, method: str = "full") -> dict[str, Any]:
    file = tmp_path / "ds.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return settings(str(file), method, "noisy", SCHEDULE)


def test_what_the_run_decides_is_auto(tmp_path: Path) -> None:
    # A file that says nothing of it, or the same, is merged; what else it says stays.
    same = {"type": "AdamW", "params": {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "torch_adam": True}}
    merged = read(tmp_path, {"zero_optimization": {"stage": 2}, "gradient_clipping": 0.5, "optimizer": same, "x": 1})
    assert [merged[key] for key in (*SIZES, "gradient_clipping")] == ["auto"] * 4
    assert merged["optimizer"]["params"] == dict.fromkeys(("lr", "betas", "eps", "weight_decay"), "auto") | {
        "torch_adam": True
    }
    assert merged["bf16"] == {"enabled": "auto"} and merged["zero_optimization"] == {"stage": 2} and merged["x"] == 1


@pytest.mark.parametrize(("value", "told"), [
    ({"train_batch_size": 8}, r"train_batch_size is 8, but batches follow train\.noisy\.batch_size"),
    ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps is 4"),
    ({"gradient_clipping": 0.1}, r"gradient_clipping is 0\.1, but train\.noisy\.max_grad_norm is 0\.5"),
    ({"scheduler": {"type": "WarmupLR"}}, r"scheduler: the rate follows train\.noisy\.schedule"),
    ({"optimizer": {"type": "Lamb"}}, r"optimizer\.type is 'Lamb'"),
    ({"optimizer": {"type": "AdamW", "params": {"lr": 1}}}, r"params\.lr is 1, but train\.noisy\.lr is 0\.001"),
    ({"zero_optimization": {"stage": 3, GATHER: False}}, f"zero_optimization.{GATHER} is false"),
    ({"zero_optimization": 3}, "zero_optimization must be a JSON object"),
    ([], "must be a JSON object"),
    ('{"a": 1 // one\n}', "line 1: not valid JSON .*; JSON has no comments"),
])  # fmt: skip
def test_what_is_not_the_runs_is_refused_by_its_key(tmp_path: Path, value: Any, told: str) -> None:
    # Before anything is trained, and not by transformers' traceback.
    with pytest.raises(UserError, match=told):
        read(tmp_path, value)


def test_zero3_saves_its_weights(tmp_path: Path) -> None:
    # DeepSpeed does not gather them unless it is told to: a full model would be saved without any. An adapter is whole.
    zero3 = {"zero_optimization": {"stage": 3}}
    assert read(tmp_path, zero3)["zero_optimization"][GATHER] is True
    assert (
        read(tmp_path, {"zero_optimization": {"stage": 3, GATHER: False}}, "lora")["zero_optimization"][GATHER] is False
    )
