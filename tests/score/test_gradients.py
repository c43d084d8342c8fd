"""Gradients in LoRA space: each example's own, sketched, and its distance to the safe set's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forgetfilter.data.turns import Turns, after_prompt
from forgetfilter.score.distances import distance
from forgetfilter.score.gradients import Sketcher

ROWS = [
    after_prompt(*row)
    for row in ((np.arange(3, 12), 4), (np.arange(3, 14), 4), (np.arange(100, 117), 9), (np.arange(50, 53), 3))
]


@pytest.fixture(scope="module", params=["lora", "qlora"])
def adapted(tiny_model: Path, wide_model: Path, request: pytest.FixtureRequest) -> Any:
    """A tiny model, plain or in 4 bits, with an adapter on three kinds of layers, its weights not at their start."""
    import peft

    from forgetfilter.models.loading import load_base

    if request.param == "qlora":
        base = load_base(wide_model, "bfloat16", "sdpa", torch.device("cpu"), four_bit=True)
    else:
        base = load_base(tiny_model, "float32", "sdpa", torch.device("cpu"))
    layers = ["q_proj", "v_proj", "down_proj"]
    model = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=layers, task_type="CAUSAL_LM")).eval()
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return model


def sketched(model: Any, dimensions: int) -> torch.Tensor:
    sketcher = Sketcher(model, dimensions)
    unit = sketcher.unit(ROWS)
    sketcher.close()
    return unit


def alone(model: Any, ids: Any, turns: Turns) -> torch.Tensor:
    """The gradient of one example by autograd itself, flat, over the adapter's weights in the order of its layers."""
    weights = [weight.requires_grad_(True) for name, weight in model.named_parameters() if "lora_" in name]
    tokens = torch.from_numpy(ids)[None]
    labels = tokens.clone()
    labels[:, : turns[0][0]] = -100
    loss = model(input_ids=tokens, labels=labels, use_cache=False).loss
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, weights)])


def test_each_example_has_its_own_gradient(adapted: Any) -> None:
    # With a sketch so wide that hardly two weights meet, the cosines of examples in a padded batch are those of
    # autograd's gradients of each example alone. An example without label tokens has none. The same holds through a
    # 4-bit base in bfloat16.
    unit = sketched(adapted, 2**20)
    exact = torch.stack([alone(adapted, *row) for row in ROWS[:3]])
    exact /= exact.norm(dim=1, keepdim=True)
    assert unit[3].isnan().all()
    four_bit = any(type(module).__name__ == "Linear4bit" for module in adapted.modules())
    assert torch.allclose(unit[:3] @ unit[:3].T, exact @ exact.T, atol=1e-2 if four_bit else 2e-3)
    assert not torch.allclose(exact @ exact.T, torch.eye(3), atol=0.05)


def test_a_sketch_keeps_cosines(adapted: Any) -> None:
    # 1024 numbers keep the cosines of gradients to about 1 / sqrt(1024) = 0.03.
    narrow, wide = (sketched(adapted, size)[:3] for size in (1024, 2**20))
    assert narrow.shape == (3, 1024)
    assert torch.allclose(narrow @ narrow.T, wide @ wide.T, atol=0.12)


def test_distance_is_to_the_nearest_safe_row() -> None:
    # The worked example has cosines 0.1, 0.7 and -0.2; without a safe row there is no distance.
    trusted = np.array([[0.1, 0.0], [0.7, 0.0], [-0.2, 0.0]])
    assert distance(np.array([[1.0, 0.0]]), trusted).tolist() == pytest.approx([0.3])
    assert np.isnan(distance(np.array([[1.0, 0.0]]), trusted[:0])).all()
