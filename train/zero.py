"""DeepSpeed settings by name: ZeRO 0 to 3, with offload; or the user's own JSON file."""

import json
from pathlib import Path
from typing import Any

import torch

from forgetfilter.errors import UserError, nearest

NAMES = ("zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")


def settings(name: str) -> dict[str, Any]:
    """The DeepSpeed configuration; "auto" values are filled in from the training arguments by transformers."""
    if name in NAMES:
        return _named(int(name[4]), offload=name.endswith("offload"))
    path = Path(name)
    if not path.is_file():
        raise UserError(f"train.deepspeed: {name!r} is no file{nearest(name, NAMES)}")
    try:
        loaded: dict[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path} line {error.lineno}: not valid JSON ({error.msg})") from error
    return loaded


def _named(stage: int, offload: bool) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": stage}
    if stage >= 1:
        zero |= {"overlap_comm": torch.cuda.is_available(), "contiguous_gradients": True}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True  # else no safetensors come out
    if offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
        if stage == 3:
            zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    # DeepSpeed's own CPU and GPU Adams need a compiler at hand; torch's own needs nothing and is as exact
    adam: dict[str, Any] = {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto", "torch_adam": True}
    if offload:  # on the CPU the optimizer is what is waited for: one pass over memory in the place of several
        adam["fused"] = True
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "optimizer": {"type": "AdamW", "params": adam},
        "zero_force_ds_cpu_optimizer": False,
        "gradient_clipping": "auto",
        "gradient_accumulation_steps": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "wall_clock_breakdown": False,
        "steps_per_print": 10**9,
    }


def zero_stage(name: str | None) -> int:
    """0 to 3; 0 without DeepSpeed."""
    return int(settings(name).get("zero_optimization", {}).get("stage", 0)) if name else 0
