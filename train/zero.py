"""The DeepSpeed configuration, by name (ZeRO 0 to 3, with or without offload) or from the user's own JSON file."""

import json
from pathlib import Path
from typing import Any

import torch

from forgetfilter.config.schema import ScheduleConfig
from forgetfilter.errors import UserError, nearest, reason
from forgetfilter.files import named_once

NAMES = ("zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")


SIZES = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
GATHER = "stage3_gather_16bit_weights_on_model_save"


def settings(name: str, method: str, stage: str, schedule: ScheduleConfig) -> dict[str, Any]:
    """The DeepSpeed configuration of a training stage.

    transformers fills in "auto" values from the training arguments. UserError with the key where a value in the user's
    file differs from the run's.
    """
    if name in NAMES:
        return _named(int(name[4]), offload=name.endswith("offload"))
    return _merged(_read(Path(name)), Path(name), method, stage, schedule)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"train.deepspeed: {str(path)!r} is no file{nearest(str(path), NAMES)}")
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=named_once)
    except (ValueError, RecursionError) as error:
        line, why = getattr(error, "lineno", 1), getattr(error, "msg", reason(error))
        raise UserError(f"{path} line {line}: not valid JSON ({why}); JSON has no comments") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: train.deepspeed must be a JSON object")
    for key in ("zero_optimization", "optimizer", "bf16", "fp16"):
        if not isinstance(loaded.get(key, {}), dict):
            raise UserError(f"{path}: {key} must be a JSON object")
    stage = loaded.get("zero_optimization", {}).get("stage", 0)
    if stage not in range(4) or isinstance(stage, bool):
        raise UserError(f"{path}: zero_optimization.stage must be 0, 1, 2 or 3, got {stage!r}")
    return loaded


def _merged(given: dict[str, Any], path: Path, method: str, stage: str, schedule: ScheduleConfig) -> dict[str, Any]:
    """The settings of the user's file, in which everything that the run decides is auto."""
    if "scheduler" in given:
        raise UserError(f"{path}: scheduler: the rate follows train.{stage}.schedule; delete scheduler there")
    for key in SIZES:
        if given.get(key, "auto") != "auto":
            way = f'batches follow train.{stage}.batch_size and train.micro_batch_tokens; write "auto"'
            raise UserError(f"{path}: {key} is {given[key]!r}, but {way}")
    merged = {"bf16": {"enabled": "auto"}, "fp16": {"enabled": "auto"}} | given | dict.fromkeys(SIZES, "auto")
    _check_same(path, "gradient_clipping", given, schedule.max_grad_norm, f"train.{stage}.max_grad_norm")
    merged |= {"gradient_clipping": "auto", "steps_per_print": given.get("steps_per_print", 10**9)}
    if "optimizer" in given:
        merged["optimizer"] = _optimizer(given["optimizer"], path, stage, schedule)
    if _stage_of(given) == 3 and method == "full":
        if given["zero_optimization"].get(GATHER) is False:
            raise UserError(f"{path}: zero_optimization.{GATHER} is false, so no weights would be saved: write true")
        merged["zero_optimization"] = given["zero_optimization"] | {GATHER: True}
    return merged


def _optimizer(given: dict[str, Any], path: Path, stage: str, schedule: ScheduleConfig) -> dict[str, Any]:
    if given.get("type") != "AdamW":
        raise UserError(f"{path}: optimizer.type is {given.get('type')!r}, but every training uses AdamW; write AdamW")
    params = given.get("params", {})
    if not isinstance(params, dict):
        raise UserError(f"{path}: optimizer.params must be a JSON object")
    own = {"lr": schedule.lr, "weight_decay": schedule.weight_decay, "betas": [0.9, 0.999], "eps": 1e-8}
    for key, value in own.items():
        whose = f"train.{stage}.{key}" if key in ("lr", "weight_decay") else "the run's"
        _check_same(path, key, params, value, whose, "optimizer.params.")
    return given | {"params": params | dict.fromkeys(own, "auto")}


def _check_same(path: Path, key: str, given: dict[str, Any], own: object, whose: str, prefix: str = "") -> None:
    if given.get(key, "auto") not in ("auto", own):
        raise UserError(f'{path}: {prefix}{key} is {given[key]!r}, but {whose} is {own!r}: write "auto", or the same')


def _named(stage: int, offload: bool) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": stage}
    if stage >= 1:
        zero |= {"overlap_comm": torch.cuda.is_available(), "contiguous_gradients": True}
    if stage == 3:
        zero[GATHER] = True  # without it no safetensors are saved
    if offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
        if stage == 3:
            zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    # DeepSpeed's own Adam needs a compiler on the machine; torch's Adam needs nothing and is as exact
    adam: dict[str, Any] = {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto", "torch_adam": True}
    if offload:  # on the CPU the optimizer takes most of the time: fused, it passes over memory once, not several times
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
    """The ZeRO stage, 0 to 3; 0 without DeepSpeed."""
    if not name:
        return 0
    return int(name[4]) if name in NAMES else _stage_of(_read(Path(name)))


def offloads(name: str | None) -> bool:
    """Whether DeepSpeed keeps optimizer states or weights in the memory of the CPU."""
    if not name or name in NAMES:
        return bool(name) and str(name).endswith("offload")
    zero = _read(Path(name)).get("zero_optimization", {})
    parts = (zero.get("offload_optimizer"), zero.get("offload_param"))
    return any(isinstance(part, dict) and part.get("device", "none") != "none" for part in parts)


def _stage_of(given: dict[str, Any]) -> int:
    return int(given.get("zero_optimization", {}).get("stage", 0))
