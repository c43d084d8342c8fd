"""Configurations of made-up rows in files, as a user gives them."""

from pathlib import Path
from typing import Any

from mixtures import write

from forgetfilter.config.schema import Config, DataConfig


def config(folder: Path, noisy: list[dict[str, Any]], safe: list[dict[str, Any]], **more: Any) -> Config:
    data = DataConfig({"mine": write(folder / "noisy.jsonl", noisy)}, {"ok": write(folder / "safe.jsonl", safe)})
    return Config(data=data, **more)


def pair(prompt: str, **more: str) -> dict[str, Any]:
    return {"prompt": prompt, "completion": "a", **more}
