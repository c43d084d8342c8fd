"""Judges, one kind a file; guard models are in the core, for the scoring asks them too."""

from pathlib import Path

import torch

from forgetfilter.config.schema import GUARDS, JUDGES, JudgeConfig
from forgetfilter.errors import UserError, nearest
from forgetfilter.models.guard_models import Pair, Verdict, open_guard

from .base import Judge
from .endpoint import Endpoint
from .refusal import Refusal

__all__ = ["Judge", "Pair", "Verdict", "open_judge"]


def open_judge(config: JudgeConfig, dtype: str, device: torch.device, cache: Path, ranks: int = 1) -> Judge:
    """The judge that the config names; UserError with the nearest name where there is none."""
    if config.name == "refusal":
        return Refusal()
    if config.name == "endpoint":
        return Endpoint(config, ranks)
    if config.name in GUARDS:
        return open_guard(config, "eval.judge", dtype, device, cache)
    raise UserError(f"eval.judge.name cannot be {config.name!r}{nearest(config.name, JUDGES)}")
