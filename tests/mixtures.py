"""A small mixture of made-up rows of BBQ and of two tasks, in files of a temporary folder."""

import json
from pathlib import Path
from typing import Any

from forgetfilter.config.schema import MixtureConfig, PoolConfig, SourceConfig


def write(path: Path, rows: list[dict[str, Any]]) -> SourceConfig:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return SourceConfig(path=str(path))


def bbq_rows(groups: int) -> list[dict[str, Any]]:
    """A four of rows a question group."""
    return [
        {
            "question_index": str(group),
            "question_polarity": polarity,
            "context_condition": condition,
            "category": "Age",
            "answer_info": {"ans0": ["", "nonOld"], "ans1": ["", "unknown"], "ans2": ["", "old"]},
            "additional_metadata": {"stereotyped_groups": ["old"]},
            "context": f"Group {group} met, {condition}.",
            "question": f"Who, {polarity}?",
            "ans0": "The cook",
            "ans1": "Unclear",
            "ans2": "The elder",
            "label": 1 if condition == "ambig" else 2,
        }
        for group in range(groups)
        for condition in ("ambig", "disambig")
        for polarity in ("neg", "nonneg")
    ]


def mixture(folder: Path, **more: Any) -> MixtureConfig:
    def tasks(name: str) -> list[dict[str, str]]:
        return [{"instruction": f"{name} {n}", "input": "", "output": f"done {n}"} for n in range(40)]

    settings: dict[str, Any] = {
        "kind": "bias",
        "size": 31,
        "unsafe_share": 0.3,
        "safe_size": 12,
        "trusted_tasks": 3,
        "eval_size": 8,
        "pools": {"bbq": PoolConfig("bbq", write(folder / "bbq.jsonl", bbq_rows(30)))},
        "tasks": {
            "alpaca": PoolConfig("alpaca", write(folder / "alpaca.jsonl", tasks("do"))),
            "sst2": PoolConfig("instruction", write(folder / "sst2.jsonl", tasks("judge"))),
        },
    }
    return MixtureConfig(**{**settings, **more})
