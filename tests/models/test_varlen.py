import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from forgetfilter.eval.answer_likelihoods import can_share
from transformers import AutoConfig, AutoModelForCausalLM

from forgetfilter.data.batches import collate, layout_for
from forgetfilter.data.turns import after_prompt
from forgetfilter.errors import UserError
from forgetfilter.models import numerics, varlen
from forgetfilter.models.exactness import (
    TOLERANCE,
    check_exact,
    moved_by_later_tokens,
    moved_by_the_batch,
    random_model,
)
from forgetfilter.models.example_losses import attach
from forgetfilter.models.numerics import attention_backend

CPU = torch.device("cpu")


def reference(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seq_q: torch.Tensor, cu_seq_k: torch.Tensor,
    max_q: int, max_k: int, *, scale: float | None = None, window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> torch.Tensor:  # fmt: skip
    """What torch says of its kernel, example by example and without it: there is none for CPUs."""
    assert torch.equal(cu_seq_q, cu_seq_k) and max_q == max_k == int(cu_seq_q.diff().max())
    made, (left, right) = [], window_size
    for start, end in zip(cu_seq_q.tolist(), cu_seq_q.tolist()[1:]):
        own = [part[start:end].transpose(0, 1) for part in (query, key, value)]
        gap = torch.arange(end - start)[:, None] - torch.arange(end - start)
        seen = (gap >= -right) & ((gap <= left) | (left < 0))
        attended = F.scaled_dot_product_attention(*own, attn_mask=seen, scale=scale, enable_gqa=enable_gqa)
        made.append(attended.transpose(0, 1))
    return torch.cat(made)


def without_groups(query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, *,
                   scale: float | None = None, window_size: tuple[int, int] = (-1, -1)) -> torch.Tensor:  # fmt: skip
    """The kernel of torch 2.11, which takes as many heads of keys as of queries."""
    assert query.shape == key.shape
    return reference(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale=scale, window_size=window_size)


def mixing(query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, *,
           scale: float | None = None, window_size: tuple[int, int] = (-1, -1)) -> torch.Tensor:  # fmt: skip
    """A kernel that takes all examples for one."""
    whole = torch.tensor([0, len(query)], dtype=torch.int32)
    return reference(query, key, value, whole, whole, len(query), len(query), scale=scale, window_size=window_size)


def made(kind: str = "llama", dtype: str = "float32", attention: str = "varlen", **more: Any) -> torch.nn.Module:
    sizes = {"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 2, "num_hidden_layers": 2}
    sizes |= {"vocab_size": 320, "intermediate_size": 128, "max_position_embeddings": 64} | more
    config = AutoConfig.for_model(kind, **sizes)
    return random_model(config, attention, dtype, CPU)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kernel", [reference, without_groups])
@pytest.mark.parametrize(("kind", "more"), [
    ("llama", {}), ("mistral", {"sliding_window": 4}), ("mistral", {"sliding_window": 64}),
    ("gemma3_text", {"sliding_window": 4}), ("mixtral", {}),
])  # fmt: skip
def test_packed_examples_have_the_losses_that_they_have_alone(kernel: Any, dtype: str, kind: str, more: Any) -> None:
    # With fewer heads of keys, and with windows shorter and longer than the examples, a packed example has its own
    # losses to half of the tolerance.
    varlen.register(kernel)
    model, bound = made(kind, dtype, **more), TOLERANCE[dtype] / 2
    assert moved_by_later_tokens(model, CPU) <= bound
    assert moved_by_the_batch(model, CPU, layout_for("varlen", True)) <= bound


def test_a_kernel_that_mixes_examples_is_refused() -> None:
    # The check of exactness runs this attention, and not SDPA in its place.
    varlen.register(mixing)
    with pytest.raises(UserError, match=r"^data\.packing"):
        check_exact(made(), CPU, TOLERANCE["float32"] * 2, "row")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_sdpa(checkpointing: bool) -> None:
    # The gradients of one packed row are those of SDPA with its mask, also if activations are computed again.
    examples = [after_prompt(list(range(3, 3 + n)), n // 3) for n in (9, 14, 5)]
    batch = collate(examples, [0, 1, 2], "row", 0)
    inputs = {key: batch[key] for key in batch if key.startswith(("input", "position", "cu_", "max_"))}
    found = []
    for attention in ("varlen", "sdpa"):
        varlen.register(reference)
        model: Any = made(attention=attention)
        if checkpointing:
            model.train().gradient_checkpointing_enable({"use_reentrant": False})
        model(**inputs, use_cache=False).logits.square().sum().backward()
        found.append(
            torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
        )
    assert torch.allclose(*found, rtol=1e-3, atol=1e-3 * float(found[0].abs().max()))


def test_answers_are_those_of_sdpa(tiny_model: Path) -> None:
    # Generation from prompts padded on the left has no spans of examples, so it takes SDPA with a mask and not the
    # kernel.
    varlen.register(mixing)  # would show
    written = []
    for attention in ("varlen", "sdpa"):
        model: Any = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation=attention)
        inputs = torch.tensor([[1, 1, 1, 7, 8], [9, 10, 11, 12, 13]])
        mask = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1]])
        written.append(model.generate(input_ids=inputs, attention_mask=mask, max_new_tokens=8, do_sample=False))
    assert torch.equal(*written)


def test_an_attention_that_is_not_there_is_one_line(tiny_model: Path) -> None:
    # On a CPU the kernels are refused with what they need, whatever torch has.
    with pytest.raises(UserError, match=r"^model.attention: varlen needs a GPU and torch 2.11 or later; use auto"):
        attention_backend("varlen", CPU, tiny_model, "bfloat16")
    with pytest.raises(UserError, match=r"^model.attention: flash_attention_3 needs a GPU and the flash-attn-int"):
        attention_backend("flash_attention_3", CPU, tiny_model, "bfloat16")


@pytest.mark.parametrize(("flash", "kernel", "capability", "dtype", "chosen"), [
    ({"flash_attention_3", "flash_attention_2"}, reference, (9, 0), "bfloat16", "flash_attention_3"),
    ({"flash_attention_2"}, reference, (9, 0), "bfloat16", "flash_attention_2"),
    (set(), reference, (9, 0), "bfloat16", "varlen"),
    (set(), reference, (7, 5), "float16", "sdpa"),
    (set(), None, (9, 0), "bfloat16", "sdpa"),
    ({"flash_attention_3", "flash_attention_2"}, reference, (9, 0), "float32", "sdpa"),
])  # fmt: skip
def test_auto_takes_the_fastest_that_is_there(
    monkeypatch: pytest.MonkeyPatch,
    tiny_model: Path,
    flash: set[str],
    kernel: Any,
    capability: Any,
    dtype: str,
    chosen: str,
) -> None:
    # The order is flash-attn 3, flash-attn 2, torch's kernel and SDPA, and none that needs half precision is taken for
    # a float32 model.
    monkeypatch.setattr(numerics, "_has_flash_attention", lambda name: name in flash)
    monkeypatch.setattr(varlen, "find_kernel", lambda: kernel)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert attention_backend("auto", torch.device("cuda"), tiny_model, dtype) == chosen


def test_answers_share_their_prompt_as_with_sdpa() -> None:
    # A row of several answers to one prompt has a mask of its own and no spans, so it works beside the kernel.
    varlen.register(reference)
    groups = [[after_prompt([5, 6, 7, *rest], 3) for rest in ([8, 9], [10], [11, 12, 13])]]
    model = made()
    attach(model)
    assert can_share(model, groups, CPU, packing=True)


def test_models_whose_attention_asks_for_more_are_not_given_the_kernel(tmp_path: Path) -> None:
    # Gemma 2 caps its scores, GPT-2 drops attention while it trains, and DeepSeek's values have a width of their own,
    # so none of them is given the kernel.
    for kind in ("gemma2", "gpt2", "deepseek_v3"):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        assert "varlen" not in numerics.attentions(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    assert numerics.attentions(tmp_path)[:3] == ("flash_attention_3", "flash_attention_2", "varlen")


def test_a_kernel_of_an_older_torch_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel of torch 2.10 has neither windows nor scales, so it is not taken.
    class Old:
        @staticmethod
        def varlen_attn(query: Any, key: Any, value: Any, is_causal: bool = False) -> None: ...

    monkeypatch.setattr(varlen.importlib, "import_module", lambda name: Old)
    assert varlen.find_kernel() is None
