"""A tiny model of a family through the whole pipeline, from its rows to its report."""

import json
from pathlib import Path
from typing import Any

from family_models import ANSWER, QUESTION, WORDS, Family, make_model

from forgetfilter import pipeline
from forgetfilter.config.load import load_config
from forgetfilter.errors import UserError
from forgetfilter.storage.run_folder import Run

NOISY, SAFE = WORDS[:6], WORDS[6:]
NEW_TOKENS = 24
CONFIG = """
name: family
output: {folder}/runs
cache: {folder}/cache
model: {{name: {folder}/base, dtype: float32}}
data:
  noisy: {{web: {{path: {folder}/noisy.jsonl}}}}
  safe: {{ours: {{path: {folder}/safe.jsonl}}}}
  max_length: 128
  packing: {packing}
  batch_tokens: 200
train:
  method: {method}
  noisy: {{epochs: 60, lr: 5e-3, batch_size: 6}}
  safe: {{epochs: 5, lr: 2e-3, batch_size: 4}}
  refit: {{epochs: 30, lr: 5e-3, batch_size: 6}}
filter: {{signal: relative_loss_rise, rule: quantile}}
eval:
  models: [base, noisy, refit]
  max_new_tokens: {new_tokens}
  data:
    harmfulness: {{path: {folder}/asked.jsonl}}
    bias: {{path: {folder}/choices.jsonl}}
tracking: {{mode: disabled}}
"""


def finished(family: Family, method: str, folder: Path) -> Run:
    """A whole run of a random model of the family. AssertionError where packing is not refused that cannot be exact."""
    make_model(folder / "base", family)
    _write_rows(folder)
    if not family.packing:
        _check_refused(_run(folder, method, packing=True))
    run = _run(folder, method, family.packing)
    pipeline.run_pipeline(run)
    return run


def _run(folder: Path, method: str, packing: bool) -> Run:
    text = CONFIG.format(folder=folder, method=method, packing=str(packing).lower(), new_tokens=NEW_TOKENS)
    config = folder / "config.yaml"
    config.write_text(text, encoding="utf-8")
    return Run.create(load_config(config, [f"name=packing-{str(packing).lower()}"]))


def _check_refused(run: Run) -> None:
    try:
        pipeline.preflight(run.config)
    except UserError as error:
        assert "packing=false" in str(error), f"packing is refused for another reason: {error}"
    else:
        raise AssertionError("packing is not refused, though it cannot be exact")


def _write_rows(folder: Path) -> None:
    asked = [{"prompt": QUESTION.format(word)} for word in WORDS]
    rows = [row | {"completion": ANSWER.format(word)} for row, word in zip(asked, WORDS)]
    choices = {"choices": ["No birds at all", "Nobody knows", "Most are nice"], "gold": 1, "unknown": 1}
    choices |= {"stereotyped": 0, "polarity": "neg", "condition": "ambig"}
    _write(folder / "noisy.jsonl", rows[: len(NOISY)])
    _write(folder / "safe.jsonl", rows[len(NOISY) :])
    _write(folder / "asked.jsonl", asked[: len(NOISY)])
    _write(folder / "choices.jsonl", [row | choices for row in asked])


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
