"""models/logit_changes.py on tiny models that change their logits after the output layer: exact, and as they were."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from forgetfilter.data.batches import collate
from forgetfilter.models.exactness import moved_by_the_batch
from forgetfilter.models.example_losses import attach

WIDE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 97}
GROUPED = WIDE | {"num_key_value_heads": 2, "pad_token_id": 0}
FAMILIES: dict[str, dict[str, Any]] = {
    "gemma2": GROUPED | {"head_dim": 8, "final_logit_softcapping": 0.05},
    "gemma3_text": GROUPED | {"head_dim": 8, "final_logit_softcapping": 0.05},
    "granite": GROUPED | {"logits_scaling": 0.1},
    "cohere": GROUPED | {"logit_scale": 7.0},
}
EXAMPLES = [([5, 9, 60, 31, 8, 77], [(2, 6)]), ([40, 3, 90, 12], [(1, 4)]), ([66, 7], [(1, 2)])]


def made(family: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **FAMILIES[family])).eval()


def own_losses(model: Any) -> list[torch.Tensor]:
    """The sum over each example's label tokens, by the model's own logits of it alone."""
    found = []
    for ids, [(num_prompt, _)] in EXAMPLES:
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, num_prompt - 1 : -1].float()
        found.append(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[num_prompt:]), reduction="sum"))
    return found


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_are_those_of_the_changed_logits(family: str, adapted: bool) -> None:
    # Losses and gradients equal those by the model's own logits, and the model's answers are the same with the head
    # attached and after it.
    model = made(family)
    if adapted:
        model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    before = model(input_ids=torch.tensor([[5, 9]])).logits
    sum(own_losses(model)).backward()  # type: ignore[union-attr]
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    expected = [float(loss.detach()) for loss in own_losses(model)]
    model.zero_grad()
    detach = attach(model)
    output = model(**collate(EXAMPLES, range(3), "rows", 0), norm=torch.tensor(1.0))
    output["loss"].backward()
    assert output["example_losses"].loss_sum.tolist() == pytest.approx(expected, rel=1e-5)
    for name, parameter in model.named_parameters():
        if name in wanted:
            assert torch.allclose(parameter.grad, wanted[name], atol=1e-5), name
    assert torch.equal(model(input_ids=torch.tensor([[5, 9]])).logits, before)
    detach()
    assert torch.equal(model(input_ids=torch.tensor([[5, 9]])).logits, before)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_check_finds_them_exact(family: str) -> None:
    # Measured by the model's own logits these families are as exact as any other, packed or not.
    for layout in ("rows", "padded"):
        assert moved_by_the_batch(made(family), torch.device("cpu"), layout) <= 1e-4


def test_the_change_matters() -> None:
    # The cap of this test is low enough that losses without it are different.
    model = made("gemma2")
    capped = [float(loss.detach()) for loss in own_losses(model)]
    model.config.final_logit_softcapping = None
    assert [float(loss.detach()) for loss in own_losses(model)] != pytest.approx(capped, rel=1e-3)
