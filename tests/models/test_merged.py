from pathlib import Path

import torch

from forgetfilter.models.loading import States
from forgetfilter.models.merged import merged, write_merged
from forgetfilter.models.settings import ModelSettings


def test_a_merged_model_answers_as_its_adapter(tiny_model: Path, tmp_path: Path) -> None:
    # The merged model has the logits of the adapter on its base in float32, with the tokenizer beside it, and a second
    # call changes nothing.
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
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert written.dtype == torch.float32
    assert torch.allclose(written(ids).logits, wanted, atol=1e-5)
    assert not torch.allclose(AutoModelForCausalLM.from_pretrained(tiny_model)(ids).logits, wanted, atol=1e-3)
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").eos_token == "<|im_end|>"
    before = (tmp_path / "merged" / "model.safetensors").stat().st_mtime_ns
    write_merged(settings, tmp_path / "adapter", tmp_path / "merged")
    assert (tmp_path / "merged" / "model.safetensors").stat().st_mtime_ns == before


def test_an_adapter_of_qlora_is_merged_into_what_its_base_stands_for(wide_model: Path, tmp_path: Path) -> None:
    # An adapter that was trained on 4-bit weights is merged into their values, so that the merged model answers as the
    # run measured, which the published base does not.
    import peft
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    options = {"target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    base = AutoModelForCausalLM.from_pretrained(wide_model)
    peft.get_peft_model(base, peft.LoraConfig(**options)).save_pretrained(tmp_path / "adapter")
    settings = ModelSettings(str(wide_model), None, None, "auto", "sdpa", True, tmp_path / "cache")
    ids, cpu = torch.tensor([[5, 6, 7, 8]]), torch.device("cpu")
    with torch.no_grad():
        with States(settings.base(), settings.on(cpu)).use(tmp_path / "adapter") as adapted:
            wanted = adapted(ids).logits.float()
        made = [merged(settings, tmp_path / "adapter", as_trained)(ids).logits for as_trained in (True, False)]
    errors = [(found - wanted).abs().max() for found in made]
    assert errors[0] < 0.02 * wanted.abs().max() and errors[0] < errors[1] / 4
