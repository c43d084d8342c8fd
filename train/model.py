"""The model to train: M0 or the result of an earlier stage, in full, with LoRA, or in 4 bits with LoRA."""

from typing import Any

import torch

from forgetfilter.errors import UserError
from forgetfilter.models.loading import ModelRef, is_adapter, load_base
from forgetfilter.models.lora_targets import adapter_config
from forgetfilter.models.numerics import Numerics
from forgetfilter.models.pretrained import load_adapter

from .stage import Finetuning


def trainable(base: ModelRef, task: Finetuning, numerics: Numerics, sharded: bool) -> torch.nn.Module:
    """The model, in which exactly the weights to be trained require gradients.

    `sharded` leaves the weights to DeepSpeed's ZeRO-3. Full finetuning without DeepSpeed trains bfloat16 or float32
    weights. The optimizer keeps the small updates that bfloat16 weights would lose (optimizer.py); float16 weights
    would have too small a range.
    """
    import peft

    start, options = task.start, task.options
    device = None if sharded else numerics.device
    if options.method == "full":
        dtype = numerics.dtype if options.deepspeed or numerics.dtype == "bfloat16" else "float32"
        return load_base(start or base.path, dtype, numerics.attention, device)
    model: Any = load_base(base.path, numerics.dtype, numerics.attention, device, numerics.four_bit)
    model.requires_grad_(False)
    if options.gradient_checkpointing:
        model.enable_input_require_grads()  # without it checkpointed blocks pass no gradient on
    if start is not None:
        if not is_adapter(start):
            raise UserError(f"{start} holds no adapter: train.method changed; give name=NEW for a new run")
        adapted: torch.nn.Module = load_adapter(model, start, "model.name", trainable=True)
        return adapted
    adapted = peft.get_peft_model(model, adapter_config(model, options.lora))
    return adapted
