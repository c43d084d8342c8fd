"""What the tests of commands and of studies share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from forgetfilter import cli


def call(*words: Any) -> int:
    """The command line's exit code."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    assert isinstance(end.value.code, int)
    return end.value.code


def write_config(folder: Path, model: Path, rows: dict[str, Sequence[dict[str, str]]], **sections: Any) -> Path:
    """A config.yaml of the run runs/r in that folder, with these noisy and safe rows, no tracking, and the sections."""
    for name, given in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    config = {
        "name": "r",
        "output": str(folder / "runs"),
        "cache": str(folder / "cache"),
        "model": {"name": str(model), "dtype": "float32"},
        "data": {name: {"mine": {"path": f"{folder}/{name}.jsonl"}} for name in rows},
        "tracking": {"mode": "disabled"},
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(config | sections))
    return path
