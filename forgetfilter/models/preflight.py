"""What is known of the released model before anything is trained: that it loads, is of a kind that works, and fits."""

from collections.abc import Sequence
from pathlib import Path

import torch

from forgetfilter.errors import UserError
from forgetfilter.models.exactness import verify_losses
from forgetfilter.models.limits import limits_of
from forgetfilter.models.lora_targets import target_modules
from forgetfilter.models.numerics import attention_backend
from forgetfilter.models.pretrained import load_model

CPU = torch.device("cpu")


def check_model(folder: Path, attention: str, packing: bool, lora_names: Sequence[str] | None) -> None:
    """UserError where the weights are not whole, the kind of model gives no exact losses, or it lacks the layers that
    an adapter is asked for; `lora_names` is None without one.

    The weights are read and not kept. What only a GPU computes is proven by the stages, there.
    """
    own = attention in ("sdpa", "eager")
    chosen = attention if own else attention_backend("auto", CPU, folder, "float32")
    verify_losses(folder, chosen, "float32", CPU, packing)
    model = load_model("AutoModelForCausalLM", folder, "model.name", device_map="meta")
    if lora_names is not None:
        target_modules(model, lora_names)


def check_answers_fit(folder: Path, answers: dict[str, int]) -> None:
    """UserError where answers of so many tokens, given by config key, leave no room for a prompt in the context."""
    context = limits_of(folder).context
    for key, most in answers.items():
        if most >= context:
            raise UserError(f"{key} is {most}, but the model's context has {context} tokens: lower it")
