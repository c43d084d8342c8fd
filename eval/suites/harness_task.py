"""A task of lm-evaluation-harness as a suite, so that two runs can be compared by the mean of its figures.

The harness itself asks its prompts (eval/harness.py), so this suite is never asked.
"""

import polars as pl

from ..intervals import Metric, measure_mean
from ..prompts import PromptRow
from .base import Outputs, Settings, Suite

PREFIX = "lm_eval-"
LOWER = ("perplexity", "bits_per_byte", "brier_score", "ter", "mse", "loss")  # parts of the names of what is better low


def score(rows: list[PromptRow], outputs: Outputs, settings: Settings) -> pl.DataFrame:
    """Is never called, because the harness writes the scores."""
    raise AssertionError("lm-evaluation-harness scores its own tasks")


def metrics(scores: pl.DataFrame) -> dict[str, Metric]:
    """The mean of every column of numbers.

    A figure of the harness that is no mean over questions, such as the F1 of a corpus, may differ from it.
    """
    names = [name for name, kind in scores.schema.items() if kind.is_float()]
    return {
        name: measure_mean(scores[name].to_list(), "lower" if any(part in name for part in LOWER) else "higher")
        for name in names
    }


def suite(name: str) -> Suite:
    """The suite of a task by its name in tables and folders."""
    return Suite(name=name, score=score, metrics=metrics)
