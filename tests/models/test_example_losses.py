"""models/example_losses.py and models/loss_pass.py on a real (tiny) Llama: exact, chunked, alone or packed."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from forgetfilter.data.batches import collate
from forgetfilter.data.turns import Turns, label_places
from forgetfilter.errors import UserError
from forgetfilter.models import example_losses
from forgetfilter.models.exactness import TOLERANCE, as_wide, check_exact
from forgetfilter.models.example_losses import attach
from forgetfilter.models.loss_pass import score_encoded


def tiny(dtype: torch.dtype = torch.float32, seed: int = 0, **changes: object) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    settings = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = LlamaConfig(**settings | {"num_attention_heads": 4, "max_position_embeddings": 64} | changes)
    return LlamaForCausalLM(config).to(dtype).eval()


def examples(lengths: tuple[int, ...] = (9, 14, 5, 14)) -> list[tuple[list[int], list[tuple[int, int]]]]:
    rng = np.random.default_rng(1)
    return [(rng.integers(0, 97, length).tolist(), [(max(1, length // 3), length)]) for length in lengths]


@torch.no_grad()
def own_loss(model: LlamaForCausalLM, ids: list[int], turns: Turns) -> float:
    """The sum over the label tokens by transformers' own loss, one example alone."""
    tokens, learned = torch.tensor([ids]), label_places(turns)
    labels = torch.full_like(tokens, -100)
    labels[:, learned] = tokens[:, learned]
    return float(model(input_ids=tokens, labels=labels).loss) * len(learned)


@pytest.mark.parametrize("layout", ["row", "rows", "padded"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-3)])
def test_a_packed_example_has_the_loss_it_has_alone(layout: str, dtype: torch.dtype, tolerance: float) -> None:
    # In each layout an example has the loss that it has alone, to 1e-5 in float32 and 1e-3 in bfloat16; in float32 this
    # is transformers' own loss.
    model, data = tiny(dtype), examples()
    data[1] = (data[1][0], [(1, 3), (6, 9), (12, 14)])  # of a chat with three answers
    detach = attach(model)
    together = model(**collate(data, range(4), layout, 0))["example_losses"].loss_sum
    alone = [float(model(**collate([one], [0], layout, 0))["example_losses"].loss_sum[0]) for one in data]
    detach()
    assert together.tolist() == pytest.approx(alone, rel=tolerance)
    if dtype == torch.float32:
        assert together.tolist() == pytest.approx([own_loss(model, *one) for one in data], rel=1e-5)


def test_scores_keep_the_order_of_the_examples() -> None:
    # score_encoded sorts by length inside and gives the losses back in the caller's order, for batches of any size.
    model, data = tiny(), examples()
    expected = [own_loss(model, *one) for one in data]
    for batch_tokens, packing in ((1, True), (20, True), (1000, True), (1000, False)):
        loss_sum, num_tokens = score_encoded(model, data, batch_tokens, torch.device("cpu"), packing)
        assert loss_sum.tolist() == pytest.approx(expected, rel=1e-5)
        assert num_tokens.tolist() == [6, 10, 4, 10]


def test_gradients_are_those_of_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    # The chunked loss, three label tokens at a time, has the gradients of the plain loss, with tied weights too.
    monkeypatch.setattr(example_losses, "CHUNK_BYTES", 3 * 4 * 97)
    ids, turns = examples((14,))[0]
    for tied in (False, True):
        ours, theirs = tiny(tie_word_embeddings=tied), tiny(tie_word_embeddings=tied)
        attach(ours)
        ours(**collate([(ids, turns)], [0], "row", 0))["loss"].backward()
        labels = torch.tensor([ids])
        labels[:, : turns[0][0]] = -100
        theirs(input_ids=torch.tensor([ids]), labels=labels).loss.backward()
        for (name, mine), plain in zip(ours.named_parameters(), theirs.parameters()):
            assert torch.allclose(mine.grad, plain.grad, atol=1e-6), name


def test_no_logits_beyond_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    # The output layer never sees more rows than a chunk holds, and never a prompt token: 40 prompt tokens and 30 labels
    # make calls of 7, 7, 7, 7 and 2 rows.
    monkeypatch.setattr(example_losses, "CHUNK_BYTES", 7 * 4 * 97)
    model, seen = tiny(max_position_embeddings=128), []
    original = model.lm_head.forward
    model.lm_head.forward = lambda hidden: seen.append(len(hidden)) or original(hidden)
    attach(model)
    with torch.no_grad():
        model(**collate([(list(range(70)), [(40, 70)])], [0], "row", 0))
    assert seen == [7, 7, 7, 7, 2]


def test_the_loss_is_normalised_by_what_the_step_says() -> None:
    # The loss is the sum divided by norm, by num_items_in_batch if the caller passes that, and otherwise by the batch's
    # own label tokens.
    model, batch = tiny(), collate(examples((9, 5)), range(2), "rows", 0)
    attach(model)
    total = float(model(**batch)["example_losses"].loss_sum.sum())
    assert model(**batch)["loss"].item() == pytest.approx(total / 10, rel=1e-5)
    assert model(**batch | {"norm": torch.tensor(40.0)})["loss"].item() == pytest.approx(total / 40, rel=1e-5)
    assert model(**batch, num_items_in_batch=20)["loss"].item() == pytest.approx(total / 20, rel=1e-5)


def test_a_micro_batch_without_labels_takes_part_in_the_backward_pass() -> None:
    # Loss and gradients are 0 and the gradients are not None, because under ZeRO every rank must reach every
    # collective.
    model = tiny()
    attach(model)
    loss = model(**collate([([0, 0], [])], [-1], "rows", 0), norm=torch.tensor(8.0))["loss"]
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_other_batches_pass_untouched_and_detach_restores() -> None:
    # While the head is attached, generation and plain losses work as before, and detaching restores the model.
    model, ids = tiny(), torch.tensor([[1, 2, 3]])
    before = model(input_ids=ids).logits
    detach = attach(model)
    assert torch.equal(model(input_ids=ids).logits, before)
    detach()
    assert "forward" not in model.lm_head.__dict__
    assert torch.equal(model(input_ids=ids).logits, before)


class Leaky(LlamaForCausalLM):
    """An attention that mixes packed examples: it never learns where one ends."""

    def forward(self, *args: object, position_ids: torch.Tensor | None = None, **kwargs: object) -> object:
        if position_ids is not None:
            kwargs["attention_mask"] = torch.ones_like(position_ids)
        return super().forward(*args, **kwargs)


def test_an_attention_that_mixes_packed_examples_is_refused() -> None:
    # check_exact compares packed examples with each alone, and the setting that its error offers works.
    model = tiny()
    leaky = copy.deepcopy(model)
    leaky.__class__ = Leaky
    check_exact(model, torch.device("cpu"), 1e-4, "rows")
    with pytest.raises(UserError, match=r"data\.packing"):
        check_exact(leaky, torch.device("cpu"), 1e-4, "rows")
    check_exact(leaky, torch.device("cpu"), 1e-4, "padded")  # what the error offers works


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(32, 320), (64, 320), (256, 8192)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_it_is_refused_in_half_precision_too(dtype: str, shape: tuple[int, int], seed: int) -> None:
    # In small and larger models half of the tolerance is more than rounding moves, and twice the tolerance is less than
    # a leak moves.
    model = tiny(getattr(torch, dtype), seed, hidden_size=shape[0], intermediate_size=2 * shape[0], vocab_size=shape[1])
    as_wide(model)
    leaky = copy.deepcopy(model)
    leaky.__class__ = Leaky
    check_exact(model, torch.device("cpu"), TOLERANCE[dtype] / 2, "rows")
    with pytest.raises(UserError, match=r"data\.packing"):
        check_exact(leaky, torch.device("cpu"), TOLERANCE[dtype] * 2, "rows")


class Plain(LlamaForCausalLM):
    """Takes no arguments but its own."""

    def forward(  # type: ignore[override]
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool = False,
    ) -> object:
        return super().forward(input_ids, position_ids=position_ids, labels=labels, use_cache=use_cache)


def test_the_attention_is_told_where_examples_end() -> None:
    # The ends of the examples in a packed row reach the layers, also through an adapter, but not a model that would not
    # take them; the losses are the same.
    seen: list[dict[str, Any]] = []
    expected = [own_loss(tiny(), *one) for one in examples()]
    adapter = LoraConfig(target_modules=["q_proj"], init_lora_weights=True)
    plain = tiny()
    plain.__class__ = Plain
    for model in (tiny(), get_peft_model(tiny(), adapter).eval(), plain):
        layer = next(module for name, module in model.named_modules() if name.endswith("layers.0"))
        layer.register_forward_pre_hook(lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True)
        attach(model)
        example_losses = model(**collate(examples(), range(4), "row", 0))["example_losses"]
        assert example_losses.loss_sum.tolist() == pytest.approx(expected, rel=1e-5)
    ends = [kwargs["cu_seq_lens_q"].tolist() if "cu_seq_lens_q" in kwargs else None for kwargs in seen]
    assert ends == [[0, 9, 23, 28, 42], [0, 9, 23, 28, 42], None]


def test_a_model_that_scales_its_logits_afterwards_is_refused() -> None:
    # A head that returns losses would have them scaled like logits, so a model that changes what its head returned is
    # refused.
    class Scaled(LlamaForCausalLM):
        def forward(self, *args: object, labels: torch.Tensor | None = None, **kwargs: object) -> object:
            output = super().forward(*args, **kwargs)
            output.logits = output.logits * 0.5
            if labels is not None:
                output.loss = self.loss_function(output.logits, labels, vocab_size=97)
            return output

    # here the losses are taken before the scaling, so they are those of other logits
    model = tiny()
    model.__class__ = Scaled
    with pytest.raises(UserError, match=r"model\.name: this model changes its logits"):
        check_exact(model, torch.device("cpu"), 1e-4, "rows")
