"""A pipeline that takes seconds, and what it must come to: ids, losses, adapters to the bit, decisions and metrics."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

STAGES = ("mix", "train-noisy", "train-safe", "score", "filter", "train-refit", "eval", "report")
CONFIG = """\
name: toy
output: {folder}/runs
cache: {folder}/cache
model: {{name: {model}, dtype: float32}}
data: {{noisy: {{web: {{path: {folder}/noisy.jsonl}}}}, safe: {{ours: {{path: {folder}/safe.jsonl}}}},
  batch_tokens: 128}}
train:
  checkpoint_steps: 2
  noisy: {{epochs: 2, lr: 2e-2, batch_size: 4}}
  safe: {{epochs: 2, lr: 2e-2, batch_size: 2}}
  refit: {{epochs: 1, lr: 2e-2, batch_size: 4}}
filter: {{signal: relative_loss_rise, rule: quantile}}
score: {{shard_rows: 4}}
eval: {{models: [base, refit], suites: [harmfulness], max_new_tokens: 2,
  data: {{harmfulness: {{path: {folder}/harm.jsonl}}}}}}
tracking: {{mode: disabled}}
"""


def write_inputs(folder: Path, model: Path) -> Path:
    """Made-up data, and the configuration of the pipeline."""

    def rows(start: int, stop: int) -> str:
        return "".join(
            json.dumps(
                {"prompt": f"what is {n}?", "completion": f"it is {n * 7}", "label": "unsafe" if n % 3 else "safe"}
            )
            + "\n"
            for n in range(start, stop)
        )

    (folder / "noisy.jsonl").write_text(rows(0, 16))
    (folder / "safe.jsonl").write_text(rows(100, 106))
    (folder / "harm.jsonl").write_text("".join(json.dumps({"prompt": f"do harm {n}"}) + "\n" for n in range(4)))
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(folder=folder, model=model))
    return config


def words(stage: str) -> list[str]:
    """The command of a stage, without its config."""
    return stage.split("-")


def _bytes(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _rows(path: Path) -> object:
    """The rows of a folder of shards, whatever rank wrote them."""
    files = sorted(path.glob("rank=*/part-*.parquet"))
    frame = pl.concat([pl.read_parquet(file, glob=False, hive_partitioning=False) for file in files])
    return frame.drop("rank", strict=False).sort("epoch", "id").rows()


def _card(path: Path) -> object:
    card = json.loads(path.read_text())
    return [card[key] for key in ("kept", "dropped", "metrics", "stale", "missing", "verdict", "refit")]


def _json(path: Path) -> object:
    return json.loads(path.read_text())


def _decisions(path: Path) -> object:
    return pl.read_parquet(path, glob=False).rows()


COMPARED: dict[str, dict[str, Callable[[Path], Any]]] = {
    "mix": {f"data/{name}.jsonl": _bytes for name in ("noisy", "safe", "eval/harmfulness")},
    "score": {f"signals/{name}": _rows for name in ("before", "after")},
    "filter": {
        "filter/kept.jsonl": _bytes,
        "filter/dropped.jsonl": _bytes,
        "filter/summary.json": _json,
        "filter/decisions.parquet": _decisions,
    },
    "eval": {f"eval/{model}/harmfulness/metrics.json": _json for model in ("base", "refit")},
    "report": {"card.json": _card, "report.html": lambda path: path.stat().st_size > 10_000},
} | {
    f"train-{name}": {f"train/{name}/adapter_model.safetensors": _bytes, f"train/{name}/losses": _rows}
    for name in ("noisy", "safe", "refit")
}


def outcome(run: Path, stages: tuple[str, ...]) -> dict[str, Any]:
    """{file: what of it must not differ} of these stages; None for one that cannot be read."""
    found: dict[str, Any] = {}
    for stage in stages:
        for name, read in COMPARED[stage].items():
            try:
                found[name] = read(run / name)
            except (OSError, ValueError, KeyError, pl.exceptions.PolarsError):
                found[name] = None
    return found
