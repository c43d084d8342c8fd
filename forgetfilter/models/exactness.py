"""Proves on random weights that a kind of model gives each example its own next-token losses, alone or in a batch.

Two claims are checked in the layout, attention and dtype that a run uses. First, a token's loss in a batch is the one
that the model's own logits give for its example alone. Second, it does not change when later tokens do; otherwise it
would be no loss of a prediction. The random weights are drawn so that attention matters at any width: with a model's
own initial weights, which are small, the tokens hardly see each other, and a leak would vanish in the rounding of
bfloat16.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from forgetfilter.data.batches import collate, layout_for
from forgetfilter.data.turns import after_prompt
from forgetfilter.errors import UserError
from forgetfilter.models.example_losses import attach, read_tokens, to_device
from forgetfilter.models.pretrained import as_user_error, described_model, load_config

# How far a token's loss in a batch may be from its loss alone, relative to the mean loss. On the weights of `as_wide`
# bfloat16 moves it by less than half of this, and attention between packed examples by more than twice this
# (tests/models/test_exactness.py).
TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2, "float16": 5e-3}
VOCABULARY = 512  # the most tokens of the random model's vocabulary; a real vocabulary would take a minute on a CPU
LENGTHS = (9, 14, 5)  # lengths of the examples in tokens
_Example = tuple[np.ndarray[Any, Any], int]  # token ids, and where the label tokens begin


def verify_losses(model_folder: Path, attention: str, dtype: str, device: torch.device, packing: bool) -> None:
    """Proves both claims on two random layers of the model's shape. Raises UserError where one does not hold, or where
    the model that the folder's config describes cannot be made or does not run."""
    config = load_config(model_folder, "model.name")
    with as_user_error(f"model.name: a model as {model_folder / 'config.json'} describes it does not work"):
        model = random_model(config, attention, dtype, device)
        check_exact(model, device, TOLERANCE[dtype], layout_for(attention, packing))
        model.train()(input_ids=torch.zeros(1, 2, dtype=torch.int64, device=device), use_cache=False)  # its dropout


def random_model(config: Any, attention: str, dtype: str, device: torch.device) -> torch.nn.Module:
    """Two layers of the model's shape with the weights of `as_wide`, in eval mode. Raises UserError for a model that is
    no causal language model, or that does not have the attention."""
    import transformers

    kind = config.model_type
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder:
        raise UserError(f"model.name: {kind} is no causal language model: choose one that writes from left to right")
    config.num_hidden_layers = 2
    if vars(config).get("layer_types"):  # some kinds, such as Mamba, have a property here
        config.layer_types = config.layer_types[:2]
    config.vocab_size, config.pad_token_id = min(VOCABULARY, config.vocab_size), None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        with as_user_error(
            f"model.name: {kind} with {attention} attention, as its config.json describes it, does not work"
        ):
            model: torch.nn.Module = described_model(config, attention, dtype)
        as_wide(model)
    return model.to(device).eval()


def as_wide(model: torch.nn.Module) -> None:
    """Draws all matrices again with entries of variance 1 / width, which keep the size of what they multiply.

    The experts of a mixture become equal: rounding decides which of two similar experts a token takes, and that would
    look like a leak.
    """
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() >= 2:
                weight.normal_(std=weight.shape[-1] ** -0.5)
            if weight.dim() == 3:
                weight.copy_(weight[:1].clone().expand_as(weight))


def check_exact(model: torch.nn.Module, device: torch.device, tolerance: float, layout: str) -> None:
    """Refuses a model that gives a label token another loss in a batch than alone, or one that depends on later tokens.

    Catches attention backends that mix packed examples, models that change their logits after the output layer, and
    models that look ahead. `tolerance` is of the mean loss of a token. `model` must not be attached. Raises UserError.
    """
    # `not`, so that NaN counts as a difference
    if not (moved := moved_by_later_tokens(model, device)) <= tolerance:
        raise UserError(
            f"model.name: the model looks ahead (a token's loss moves by {moved:.3g} of the mean loss with the token "
            "after it), so it is no causal language model: choose one that writes from left to right"
        )
    if not (moved := moved_by_the_batch(model, device, layout)) <= tolerance:
        raise UserError(
            "data.packing: this model and attention do not give packed examples their own losses (a token's loss "
            f"moves by {moved:.3g} of the mean loss); set data.packing=false, or choose another model"
        )


def moved_by_later_tokens(model: torch.nn.Module, device: torch.device) -> float:
    """The most that a label token's loss moves with the last token of its example, of the mean loss of a token."""
    with _measured(model) as size:
        examples = _examples(size)
        others = [(np.append(ids[:-1], (ids[-1] + 1) % size), start) for ids, start in examples]
        before, after = (
            torch.cat([_losses_alone(model, one, device)[:-1] for one in given]) for given in (examples, others)
        )
    return float((after - before).abs().max() / before.mean())


def moved_by_the_batch(model: torch.nn.Module, device: torch.device, layout: str) -> float:
    """The most that a label token's loss in a batch differs from its loss alone, of the mean loss of a token."""
    with _measured(model) as size:
        examples = _examples(size)
        alone = torch.cat([_losses_alone(model, one, device) for one in examples])
        detach, encoded = attach(model, tokenwise=True), [after_prompt(*one) for one in examples]
        batch = to_device(collate(encoded, range(len(encoded)), layout, 0), device)
        packed = read_tokens(model(**batch)["example_losses"]).float()
        detach()
    return float((packed - alone).abs().max() / alone.mean())


@contextmanager
def _measured(model: Any) -> Iterator[int]:
    """In eval mode and without gradients. Gives the number of tokens of the vocabulary, two at least."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        yield max(2, int(model.get_input_embeddings().weight.shape[0]))
    model.train(was_training)


def _examples(size: int) -> list[_Example]:
    """Random examples of LENGTHS tokens, the same ones each time, the first third of which is the prompt."""
    generator = torch.Generator().manual_seed(0)
    return [(torch.randint(0, size, (n,), generator=generator).numpy(), n // 3) for n in LENGTHS]


def _losses_alone(model: torch.nn.Module, example: _Example, device: torch.device) -> torch.Tensor:
    """By the model's own logits: float32, one of each label token."""
    ids, start = example
    tokens = torch.from_numpy(ids)[None].to(device)
    logits = model(input_ids=tokens, use_cache=False).logits
    return F.cross_entropy(logits[0, start - 1 : -1].float(), tokens[0, start:], reduction="none")
