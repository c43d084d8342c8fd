"""Sequential safety finetuning as in the paper: only on safe rows of the unsafe kinds, without trusted tasks.

The rows of the safe set that are labelled task are left out; without such rows it equals `sequential`. The paper finds
that the task suffers. Example: of 150 safe rows 50 are trusted tasks, and M1 is finetuned on the other 100.
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
