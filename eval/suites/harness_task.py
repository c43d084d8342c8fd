"""A task of lm-evaluation-harness as a suite, for comparing two runs: the mean of each figure over its questions.

Its prompts and answers are the harness's own affair (eval/harness.py), so it is never asked here.
"""

import polars as pl

from ..intervals import Metric, measure_mean
from ..prompts import PromptRow
from .base import Outputs, Settings, Suite, no_answers

PREFIX = "lm_eval-"
LOWER = ("perplexity", "bits_per_byte", "brier_score", "ter", "mse", "loss")  # parts of the names of what should be low


def check(row: PromptRow, where: str) -> None:
    """Nothing: the rows are the harness's."""


def score(rows: list[PromptRow], outputs: Outputs, settings: Settings) -> pl.DataFrame:
    """Never called: the harness writes the scores."""
    raise AssertionError("lm-evaluation-harness scores its own tasks")


def metrics(scores: pl.DataFrame) -> dict[str, Metric]:
    """Of every column of numbers. A figure of the harness that is no mean over questions (such as F1 of a corpus) may
    differ from it."""
    names = [name for name, kind in scores.schema.items() if kind.is_float()]
    return {
        name: measure_mean(scores[name].to_list(), "lower" if any(part in name for part in LOWER) else "higher")
        for name in names
    }


def suite(name: str) -> Suite:
    """The suite of a task by its name in tables and folders."""
    return Suite(name, False, check, no_answers, score, metrics)
