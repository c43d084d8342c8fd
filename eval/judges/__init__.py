"""The judges, one in each file. Every guard model (forgetfilter/models/guards) is a judge too."""

from pathlib import Path
from typing import TYPE_CHECKING

from forgetfilter.config import registry
from forgetfilter.config.schema import JudgeConfig
from forgetfilter.errors import check_choice
from forgetfilter.models.guards.base import Pair, Verdict

from .base import Judge, JudgeKind

if TYPE_CHECKING:
    import torch

__all__ = ["Judge", "JudgeKind", "Pair", "Verdict", "open_judge"]


def open_judge(config: JudgeConfig, dtype: str, device: "torch.device", cache: Path, ranks: int = 1) -> Judge:
    """The judge that the config names; UserError with the nearest known name where there is none."""
    if config.name in registry.GUARDS.names:
        from forgetfilter.models.guard_models import open_guard  # loads torch, which checking a name does not need

        return open_guard(config, "eval.judge", dtype, device, cache)
    check_choice("eval.judge.name", config.name, registry.judge_names())
    kind = registry.JUDGES.find(JudgeKind, config.name, "eval.judge.name")
    kind.check(config)
    return kind.open(config, ranks)
