import json
from pathlib import Path

import pytest
import torch

from forgetfilter.errors import UserError
from forgetfilter.models.numerics import attention_backend, compute_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(("native", "four_bit", "expected"), [
    (True, False, "bfloat16"), (False, False, "float32"), (False, True, "bfloat16"),
])  # fmt: skip
def test_auto_takes_bfloat16_only_where_the_cpu_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, native: bool, four_bit: bool, expected: str
) -> None:
    # Emulated bfloat16 is an order of magnitude slower than float32, so auto avoids it, except for a 4-bit base, which
    # has no choice.
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    assert compute_dtype("auto", CPU, four_bit) == expected


def test_a_dtype_that_is_named_is_taken() -> None:
    # A dtype that the config names is taken on any machine.
    assert compute_dtype("float16", CPU) == "float16"


def test_the_attention_is_one_that_the_model_has(tiny_model: Path, tmp_path: Path) -> None:
    # Llama has SDPA; Gemma 2, which caps its attention scores, has eager attention, and SDPA for it is refused.
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma2"}))
    assert attention_backend("auto", CPU, tiny_model, "float32") == "sdpa"
    assert attention_backend("auto", CPU, tmp_path, "float32") == "eager"
    with pytest.raises(UserError, match=r"model.attention: sdpa is not among the model's \(.*eager\)"):
        attention_backend("sdpa", CPU, tmp_path, "float32")
