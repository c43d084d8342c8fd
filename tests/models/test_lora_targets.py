import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from forgetfilter.errors import UserError
from forgetfilter.models.lora_targets import ALL, DEFAULT, target_modules

SIZES = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "pad_token_id": None}


def of(kind: str) -> torch.nn.Module:
    with torch.device("meta"):
        model: torch.nn.Module = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES))
    return model


@pytest.mark.parametrize(("kind", "expected"), [
    ("llama", ["q_proj", "v_proj"]), ("gpt2", ["c_attn"]), ("gpt_neox", ["query_key_value"]), ("phi3", ["qkv_proj"]),
    ("bloom", ["query_key_value"]), ("qwen2", ["q_proj", "v_proj"]),
])  # fmt: skip
def test_the_default_is_the_attention_of_the_architecture(kind: str, expected: list[str]) -> None:
    # The default has the paper's names if the model has them and otherwise the model's own; GPT-2's layers are Conv1D
    # and not Linear.
    assert target_modules(of(kind), DEFAULT) == expected


@pytest.mark.parametrize(("kind", "wanted", "told"), [
    ("llama", ["q_proj", "nosuch"], "nosuch not in the model; its layers: down_proj, gate_proj, k_proj, o_proj"),
    ("gpt2", ["query"], "query not in the model; its layers: c_attn, c_fc, c_proj"),
    ("llama", ["lm_head"], "lm_head not in the model"),
    ("llama", [ALL, "q_proj"], "all-linear stands for all layers, so it stands alone"),
])  # fmt: skip
def test_a_name_that_the_model_lacks_is_refused(kind: str, wanted: list[str], told: str) -> None:
    # A name that is wrong beside one that is right is refused, because peft would pass over it.
    with pytest.raises(UserError, match=rf"train\.lora\.target_modules: {told}"):
        target_modules(of(kind), wanted)


def test_all_linear_and_whole_names_are_taken() -> None:
    # all-linear is peft's own word and is passed on, and a name may say where the layer is.
    assert target_modules(of("llama"), [ALL]) == ALL
    assert target_modules(of("llama"), ["self_attn.q_proj"]) == ["self_attn.q_proj"]
