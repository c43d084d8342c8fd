"""Sequential safety finetuning as the paper has it: on safe rows of the kind alone, without trusted tasks.

The rows of the safe set that are labelled task are left out; where none is, it is `sequential`. The paper finds that it
costs the task. Example: of 150 safe rows 50 are trusted tasks: M1 is finetuned on the other 100.
"""

from typing import Any

from forgetfilter.config.schema import Config
from forgetfilter.study.defences.base import Defence


def settings(config: Config) -> dict[str, Any]:
    return {"data.safe_tasks": False}


DEFENCE = Defence(
    "sequential_no_tasks",
    "M2 without the trusted tasks of the safe set",
    "safe",
    ("train-noisy", "train-safe"),
    settings,
)
