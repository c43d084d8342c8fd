from pathlib import Path

import torch

from forgetfilter.models.loading import States
from forgetfilter.models.merged import write_merged
from forgetfilter.models.settings import ModelSettings


def test_a_merged_model_answers_as_its_adapter(tiny_model: Path, tmp_path: Path) -> None:
    # The same logits in float32 as the adapter on its base, and the tokenizer beside it; a second call changes nothing.
    import peft
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    options = {"target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    peft.get_peft_model(base, peft.LoraConfig(**options)).save_pretrained(tmp_path / "adapter")
    settings = ModelSettings(str(tiny_model), None, None, "float32", "sdpa", False, tmp_path / "cache")
    write_merged(settings, tmp_path / "adapter", tmp_path / "merged")
    ids = torch.tensor([[5, 6, 7, 8]])
    with States(settings.base(), settings.on(torch.device("cpu"))).use(tmp_path / "adapter") as adapted:
        wanted = adapted(ids).logits
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.dtype == torch.float32
    assert torch.allclose(merged(ids).logits, wanted, atol=1e-5)
    assert not torch.allclose(AutoModelForCausalLM.from_pretrained(tiny_model)(ids).logits, wanted, atol=1e-3)
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").eos_token == "<|im_end|>"
    before = (tmp_path / "merged" / "model.safetensors").stat().st_mtime_ns
    write_merged(settings, tmp_path / "adapter", tmp_path / "merged")
    assert (tmp_path / "merged" / "model.safetensors").stat().st_mtime_ns == before
