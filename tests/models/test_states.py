"""models/loading.py: States gives each trained state the numbers that it has alone, whatever was measured before it."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from forgetfilter.models.loading import States, resolve
from forgetfilter.models.numerics import Numerics

IDS = torch.arange(12)[None]


@pytest.fixture
def adapters(wide_model: Path, tmp_path: Path) -> list[Path]:
    """Two adapters that are far apart."""
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(wide_model)
        peft.get_peft_model(model, settings).save_pretrained(tmp_path / str(seed))
    return [tmp_path / "0", tmp_path / "1"]


@pytest.mark.parametrize("four_bit", [False, True])
def test_the_order_of_the_states_has_no_say(
    wide_model: Path, adapters: list[Path], tmp_path: Path, four_bit: bool
) -> None:
    # M0 and two adapters on one loaded base have the same logits in any order, to the bit, also with a 4-bit base on
    # the CPU, which bitsandbytes would pack anew in between with rounding.
    def logits(*order: Path | None) -> dict[Path | None, torch.Tensor]:
        base = resolve(str(wide_model), None, tmp_path / "cache")
        states = States(base, Numerics("float32", "sdpa", torch.device("cpu"), four_bit))
        found: dict[Path | None, Any] = {}
        for state in order:
            with states.use(state) as model, torch.inference_mode():
                found[state] = model(input_ids=IDS, use_cache=False).logits
        return found

    first, second = adapters
    one, other = logits(None, first, second), logits(second, first, None)
    assert not torch.equal(one[first], one[second])
    for state in (None, first, second):
        assert torch.equal(one[state], other[state]), state
