"""The stored evaluation as logs of Inspect (of the UK AI Security Institute), one for each model and suite.

The files have its JSON format, version 2 (https://inspect.aisi.org.uk/eval-logs.html), which `inspect view` opens. A
prompt is a sample with our id, and several answers to it are the choices of its output. Each metric is a score with its
value and the ends of its 95% interval; one that is not known, of a prompt or of all, is left out. The texts are those
of the folder eval, and nothing in them is masked. The times are those of the whole evaluation.
"""

import json
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from forgetfilter import __version__
from forgetfilter.data.rendering import with_instructions
from forgetfilter.errors import UserError
from forgetfilter.files import read_json, sha256_value, write_text
from forgetfilter.storage import scores
from forgetfilter.storage.results import read_state

from . import suites
from .prompts import PromptRow, read_prompts
from .task import Evaluation

Json = dict[str, Any]  # an object of the format
PLACED = ("id", "messages", "reference")  # what of a row of prompts has a place of its own in a sample
ENDS = {"value": "value", "low": "95% low", "high": "95% high"}


def write_logs(evaluation: Evaluation, models: Sequence[str], target: Path) -> list[Path]:
    """Writes a log of each of the models and suite whose answers are stored, and returns the files; UserError without
    any. Tasks of lm-evaluation-harness, which stores no answers here, have none."""
    made = evaluation.paths.folder / "eval"
    places = [place for model in models for place in sorted((made / model).glob("*/"))]
    places = [
        place for place in places if all((place / name).exists() for name in ("metrics.json", "generations.parquet"))
    ]
    if not places:
        raise UserError(f"{made} holds no answers: run forgetfilter eval first")
    stage = read_state(evaluation.paths.folder).get("eval", {})
    start = datetime.fromisoformat(stage.get("start") or "1970-01-01T00:00:00+00:00")
    times = {
        "started_at": start.isoformat(),
        "completed_at": (start + timedelta(0, stage.get("seconds") or 0)).isoformat(),
    }
    logs = {f"{place.name}_{place.parent.name}": _log(evaluation, place, times) for place in places}
    # Inspect lists the files whose names begin with a time
    files = {target / f"{start:%Y-%m-%dT%H-%M-%S}_{name}.json": log for name, log in logs.items()}
    for file, log in files.items():  # unsorted: its viewer looks for the version first, and shows the first metric
        write_text(file, json.dumps(log, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return list(files)


def _log(evaluation: Evaluation, place: Path, times: dict[str, str]) -> Json:
    suite, model = suites.get(place.name), f"{evaluation.name}:{place.parent.name}"
    told = read_json(place / "metrics.json")
    samples = _samples(evaluation, suite, place, model)
    name = sha256_value([evaluation.name, place.parent.name, told, [one["id"] for one in samples]])[:22]
    spec = {
        "eval_id": name, "run_id": name, "task_id": name, "created": times["started_at"],
        "task": suite.name, "model": model,
        "dataset": {"name": suite.name, "samples": len(samples), "sample_ids": [one["id"] for one in samples]},
        "config": {}, "packages": {"forgetfilter": __version__}, "metadata": told,
    }  # fmt: skip
    results = {"total_samples": len(samples), "completed_samples": len(samples), "scores": _metrics(suite, told)}
    return {
        "version": 2,
        "status": "success",
        "eval": spec,
        "plan": {},
        "results": results,
        "stats": times,
        "samples": samples,
    }


def _metrics(suite: suites.Suite, told: Json) -> list[Json]:
    """The metrics over all prompts; those over a part of them are in the log's metadata."""
    whole = {name: entry for name, entry in told["metrics"].items() if not name.endswith("]")}
    first = [name for name in suite.headline if name in whole]
    return [
        {
            "name": name, "scorer": suite.name, "scored_samples": entry["n"], "unscored_samples": entry["missing"],
            "metrics": {
                word: {"name": word, "value": entry[key]} for key, word in ENDS.items() if entry[key] is not None
            },
            "metadata": {"better": entry["better"]},
        }
        for name, entry in ({name: whole[name] for name in first} | whole).items()
    ]  # fmt: skip


def _samples(evaluation: Evaluation, suite: suites.Suite, place: Path, model: str) -> list[Json]:
    """The prompts in the order in which they were asked. UserError where they are not those of the answers."""
    path = evaluation.paths.eval_prompts(suite.prompts or suite.name)
    rows = {row["id"]: row for row in read_prompts(path, suite.check, suite.prompted)}
    answers: dict[str, list[str]] = {}
    for name, text in pl.read_parquet(place / "generations.parquet", glob=False).select("id", "text").iter_rows():
        answers.setdefault(name, []).append(text)
    measured = pl.read_parquet(place / "scores.parquet", glob=False)
    scored = dict(zip(measured["id"], measured.select(scores.names(measured)).iter_rows(named=True)))
    if rows.keys() != answers.keys() or rows.keys() != scored.keys():
        raise UserError(f"{place} holds answers to other prompts than {path}: run forgetfilter eval again")
    return [_sample(evaluation, suite, row, answers[name], scored[name], model) for name, row in rows.items()]


def _sample(
    evaluation: Evaluation, suite: suites.Suite, row: PromptRow, answers: list[str], scored: Json, model: str
) -> Json:
    turns = with_instructions(row["messages"], evaluation.options.system_prompt, evaluation.options.cue)
    choices = [] if suite.generates else suite.answers(row)
    said = [{"role": "assistant", "content": text or "", "model": model} for text in answers]
    known = {
        name: {"value": value, "answer": said[0]["content"]}
        for name, value in scored.items()
        if value is not None and math.isfinite(value)
    }
    return {
        "id": row["id"],
        "epoch": 1,
        "input": turns or "",
        "target": row.get("reference") or (choices[row["gold"]] if choices and "gold" in row else ""),
        **({"choices": choices} if choices else {}),
        "messages": [*turns, said[0]],
        "output": {"model": model, "choices": [{"message": one, "stop_reason": "unknown"} for one in said]},
        "scores": known,
        "metadata": {key: value for key, value in row.items() if key not in PLACED},
    }
