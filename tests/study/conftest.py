"""A comparison on made-up data with the tiny random model."""

import json
from pathlib import Path
from typing import Any

import pytest


def rows(start: int, number: int, label: str) -> list[dict[str, Any]]:
    return [
        {"prompt": f"what is {n} of {label}?", "completion": f"it is {label} {n * 7}", "label": label}
        for n in range(start, start + number)
    ]


@pytest.fixture
def comparison(tmp_path: Path, tiny_model: Path) -> Path:
    """A config with 23 labelled noisy rows, 10 safe ones (three of them tasks), and prompts of two suites."""

    def write(name: str, lines: list[dict[str, Any]]) -> None:
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    write("noisy.jsonl", [*rows(0, 9, "unsafe"), *rows(0, 8, "safe"), *rows(0, 6, "task")])
    write("safe.jsonl", [*rows(100, 7, "safe"), *rows(100, 3, "task")])
    write("harm.jsonl", [{"prompt": f"do harm {n}"} for n in range(5)])
    write("task.jsonl", [{"prompt": f"task {n}", "reference": f"{n}", "metric": "exact"} for n in range(5)])
    (tmp_path / "config.yaml").write_text(
        f"name: toy\noutput: {tmp_path}/runs\ncache: {tmp_path}/cache\n"
        f"model: {{name: {tiny_model}, dtype: float32}}\n"
        f"data: {{noisy: {{web: {{path: {tmp_path}/noisy.jsonl}}}}, "
        f"safe: {{ours: {{path: {tmp_path}/safe.jsonl}}}}}}\n"
        "train:\n"
        "  noisy: {epochs: 2, lr: 2e-2, batch_size: 4}\n"
        "  safe: {epochs: 1, lr: 2e-2, batch_size: 4}\n"
        "  refit: {epochs: 1, lr: 2e-2, batch_size: 4}\n"
        "filter: {signal: relative_loss_rise, rule: quantile}\n"
        f"eval: {{suites: [harmfulness, task], max_new_tokens: 4, data: {{\n"
        f"  harmfulness: {{path: {tmp_path}/harm.jsonl}}, task: {{path: {tmp_path}/task.jsonl}}}}}}\n"
        "tracking: {mode: disabled}\n"
    )
    return tmp_path / "config.yaml"
