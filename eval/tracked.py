"""What the tracked run of an evaluation holds: the headline of each suite in its summary, and all else in tables."""

from collections.abc import Mapping
from typing import Any

import polars as pl
import polars.selectors as cs

from forgetfilter.process.tracking import Tracker
from forgetfilter.storage import artifacts
from forgetfilter.storage.results import read_headlines
from forgetfilter.storage.shards import scan

from .task import Evaluation

ROWS = 1000  # the most rows of a suite's scores and model that are logged
KEYS = ("value", "low", "high", "n", "missing")


def log_evaluation(
    evaluation: Evaluation,
    models: list[str],
    measured: Mapping[tuple[str, str], Mapping[str, Mapping[str, Any]]],
    tracker: Tracker,
) -> None:
    """Logs an evaluation: `measured` is {(suite, model): {METRIC: its entry in metrics.json}}. No text of a model or
    judge leaves the machine."""
    if tracker.run is None:
        return
    with tracker.or_without():
        headlines = read_headlines(evaluation.paths.folder)
        for (suite, model), metrics in measured.items():
            chosen = [name for name in headlines.get(suite, []) if name in metrics] or list(metrics)[:1]
            tracker.summary({f"{suite}/{name}/{model}": metrics[name]["value"] for name in chosen})
        entries = [(suite, model, name, one) for (suite, model), of in measured.items() for name, one in of.items()]
        rows = [(suite, name, model, *map(one.get, KEYS)) for suite, model, name, one in entries]
        tracker.table("metrics", ("suite", "metric", "model", *KEYS), rows)
        for suite in dict.fromkeys(suite for suite, _ in measured):
            scores = pl.concat([_scores(evaluation, model, suite) for model in models], how="diagonal_relaxed")
            tracker.table(f"scores/{suite}", scores.columns, scores.rows())
        trained = [artifacts.model(evaluation.paths, model) for model in models if model != "base"]
        tracker.lineage(trained, [artifacts.evaluation(evaluation.paths)])


def _scores(evaluation: Evaluation, model: str, suite: str) -> pl.DataFrame:
    scores = scan(evaluation.folder(model, suite) / "scores.parquet").head(ROWS).collect()
    return scores.select(pl.lit(model).alias("model"), "id", "source", ~cs.string())
