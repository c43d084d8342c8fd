import pytest
import torch
from transformers import AutoConfig

from forgetfilter.data.batches import layout_for
from forgetfilter.errors import UserError
from forgetfilter.models.exactness import (
    TOLERANCE,
    check_exact,
    moved_by_later_tokens,
    moved_by_the_batch,
    random_model,
)

CPU = torch.device("cpu")
SMALL = [(dtype, width) for dtype in TOLERANCE for width in (32, 64, 256)]
WIDE = ("bfloat16", 1024)  # as wide as real models, whose rounding is that of long sums


def made(kind: str, attention: str, dtype: str, width: int) -> torch.nn.Module:
    sizes = {"hidden_size": width, "num_attention_heads": 8, "num_hidden_layers": 2, "vocab_size": 320}
    config = AutoConfig.for_model(kind, **sizes, max_position_embeddings=64)
    if hasattr(config, "intermediate_size"):
        config.intermediate_size = 2 * width
    return random_model(config, attention, dtype, CPU)


@pytest.mark.parametrize(("dtype", "width"), [*SMALL, WIDE])
@pytest.mark.parametrize("packing", [True, False])
def test_a_model_that_looks_ahead_is_refused_in_every_layout(packing: bool, dtype: str, width: int) -> None:
    # BERT reads in both directions, so its losses are no losses of predictions, though alone and in a batch they are
    # the same.
    with pytest.raises(UserError, match=r"^model\.name: the model looks ahead"):
        check_exact(made("bert", "sdpa", dtype, width), CPU, TOLERANCE[dtype] * 2, layout_for("sdpa", packing))


@pytest.mark.parametrize(("dtype", "width"), [*SMALL, WIDE])
@pytest.mark.parametrize(("kind", "attention"), [("bloom", "eager"), ("falcon", "sdpa")])
def test_packing_that_mixes_is_refused_at_any_width(kind: str, attention: str, dtype: str, width: int) -> None:
    # Models whose masks do not know where packed examples end are refused at twice the tolerance when packed, and pass
    # at half of it when padded.
    model = made(kind, attention, dtype, width)
    with pytest.raises(UserError, match=r"^data\.packing"):
        check_exact(model, CPU, TOLERANCE[dtype] * 2, layout_for(attention, True))
    check_exact(model, CPU, TOLERANCE[dtype] / 2, layout_for(attention, False))


@pytest.mark.parametrize(("kind", "dtype", "width"), [
    *((kind, dtype, 64) for kind in ("llama", "gpt2", "gpt_neox", "mixtral", "gemma3_text") for dtype in TOLERANCE),
    ("llama", *WIDE), ("gpt_neox", *WIDE),
])  # fmt: skip
def test_exact_models_pass(kind: str, dtype: str, width: int) -> None:
    # Rounding moves the losses of an exact model by less than half of the tolerance, even where it could choose among
    # experts.
    model, bound = made(kind, "sdpa", dtype, width), TOLERANCE[dtype] / 2
    assert moved_by_later_tokens(model, CPU) <= bound
    assert moved_by_the_batch(model, CPU, layout_for("sdpa", True)) <= bound
    check_exact(model, CPU, bound, layout_for("sdpa", True))  # so it refuses nothing


def test_other_kinds_and_attentions_are_one_line() -> None:
    # An encoder with a decoder is no causal model, and Bloom has no SDPA: one line says so.
    with pytest.raises(UserError, match=r"^model\.name: t5 is no causal language model"):
        random_model(AutoConfig.for_model("t5"), "sdpa", "float32", CPU)
    with pytest.raises(UserError, match=r"^model\.name: bloom with sdpa attention, .* does not work"):
        made("bloom", "sdpa", "float32", 32)
