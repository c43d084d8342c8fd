"""A comparison on made-up data with the tiny random model."""

import json
from pathlib import Path
from typing import Any

import pytest
from toy_study import call

from forgetfilter.config.schema import DEFENCES

COMPARED = (*DEFENCES, "oracle", "sequential_no_tasks", "forgetfilter_paper")


def rows(start: int, number: int, label: str) -> list[dict[str, Any]]:
    return [
        {"prompt": f"what is {n} of {label}?", "completion": f"it is {label} {n * 7}", "label": label}
        for n in range(start, start + number)
    ]


def write_comparison(folder: Path, model: Path) -> Path:
    """A config with 23 labelled noisy rows, 10 safe ones (three of them tasks), and prompts of two suites."""

    def write(name: str, lines: list[dict[str, Any]]) -> None:
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    write("noisy.jsonl", [*rows(0, 9, "unsafe"), *rows(0, 8, "safe"), *rows(0, 6, "task")])
    write("safe.jsonl", [*rows(100, 7, "safe"), *rows(100, 3, "task")])
    write("harm.jsonl", [{"prompt": f"do harm {n}"} for n in range(5)])
    write("task.jsonl", [{"prompt": f"task {n}", "reference": f"{n}", "metric": "exact"} for n in range(5)])
    (folder / "config.yaml").write_text(
        f"name: toy\noutput: {folder}/runs\ncache: {folder}/cache\n"
        f"model: {{name: {model}, dtype: float32}}\n"
        f"data: {{noisy: {{web: {{path: {folder}/noisy.jsonl}}}}, "
        f"safe: {{ours: {{path: {folder}/safe.jsonl}}}}}}\n"
        "train:\n"
        "  noisy: {epochs: 2, lr: 2e-2, batch_size: 4}\n"
        "  safe: {epochs: 1, lr: 2e-2, batch_size: 4}\n"
        "  refit: {epochs: 1, lr: 2e-2, batch_size: 4}\n"
        "filter: {signal: relative_loss_rise, rule: quantile}\n"
        f"eval: {{suites: [harmfulness, task], max_new_tokens: 4, data: {{\n"
        f"  harmfulness: {{path: {folder}/harm.jsonl}}, task: {{path: {folder}/task.jsonl}}}}}}\n"
        "tracking: {mode: disabled}\n"
    )
    return folder / "config.yaml"


@pytest.fixture
def comparison(tmp_path: Path, tiny_model: Path) -> Path:
    return write_comparison(tmp_path, tiny_model)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, str]:
    """A finished comparison of all defences, as the words of its command."""
    config = write_comparison(tmp_path_factory.mktemp("compared"), tiny_model)
    words = (config, f"compare.defences=[{','.join(COMPARED)}]")
    assert call("compare", *words) == 0
    return words
