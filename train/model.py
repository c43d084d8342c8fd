"""The model to train: M0 or an earlier stage's result, in full, with LoRA, or 4-bit with LoRA."""

from pathlib import Path
from typing import Any

import torch

from forgetfilter.config.schema import LoraConfig
from forgetfilter.errors import UserError
from forgetfilter.models.loading import ModelRef, is_adapter, load_base
from forgetfilter.models.lora_targets import target_modules
from forgetfilter.models.pretrained import load_adapter


def trainable(
    base: ModelRef,
    start: Path | None,
    method: str,
    lora: LoraConfig,
    dtype: str,
    attention: str,
    device: torch.device | None,
    gradient_checkpointing: bool,
) -> torch.nn.Module:
    """The model with what is to be trained requiring gradients; `start` is the stage to go on from, None for M0.

    `device` None leaves the weights to DeepSpeed's ZeRO-3. Full finetuning without DeepSpeed gets float32 weights
    from the caller's `dtype`: bfloat16 weights alone would lose small updates.
    """
    if method == "full":
        return load_base(start or base.path, dtype, attention, device)
    model: Any = load_base(base.path, dtype, attention, device, four_bit=method == "qlora")
    model.requires_grad_(False)
    if gradient_checkpointing:
        model.enable_input_require_grads()  # else checkpointed blocks see no gradient to pass on
    if start is not None:
        if not is_adapter(start):
            raise UserError(f"{start} holds no adapter: train.method changed; give name=NEW for a new run")
        adapted: torch.nn.Module = load_adapter(model, start, "model.name", trainable=True)
        return adapted
    return _with_adapter(model, lora)


def _with_adapter(model: Any, lora: LoraConfig) -> torch.nn.Module:
    import peft

    options: dict[str, Any] = {"target_modules": target_modules(model, lora.target_modules), "task_type": "CAUSAL_LM"}
    options |= {"r": lora.r, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
    return peft.get_peft_model(model, peft.LoraConfig(**options))
