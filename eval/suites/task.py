"""The downstream task: the greedy answer against a reference, and the reference's own likelihood.

Each row names its metric: exact (SQuAD's normalisation, Rajpurkar et al. 2016: case, punctuation, articles and
spaces do not count), number (the answer's last number, or the one after ####, equals the reference's) or rouge1
(see forgetfilter.rouge). answer_loss is the mean over all rows of the reference's loss in nats a token. An empty
answer is a wrong one, not a missing one: a model that falls silent has lost the task.

Example: reference "The Nile", answer "nile." matches; "the river Nile" does not.
"""

import math
import re
import string
from decimal import Decimal

import polars as pl

from forgetfilter.errors import UserError
from forgetfilter.rouge import rouge1

from ..intervals import Metric, measure_mean
from ..prompts import Row, choice, text
from .base import Outputs, Settings, Suite, frame

METRICS = {"exact": "exact_match", "number": "number_match", "rouge1": "rouge1"}  # a row's metric: its column
# A minus belongs to the number unless it joins two words or numbers, as in "5-10".
_NUMBER = re.compile(r"(?:(?<![\w.])-)?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def check(row: Row, where: str) -> None:
    """reference and metric; the reference of a number row holds one."""
    text(row, "reference", where)
    choice(row, "metric", tuple(METRICS), where)
    if row["metric"] == "number" and final_number(row["reference"]) is None:
        raise UserError(f"{where}: metric is number, but the reference holds none: {row['reference'][:80]!r}")


def answers(row: Row) -> list[str]:
    return [row["reference"]]


def score(rows: list[Row], outputs: Outputs, settings: Settings) -> pl.DataFrame:
    """`metric`, a column for each metric (null in the rows of another one), and `answer_loss`."""
    losses = [outputs.losses[row["id"]][0] for row in rows]
    columns: dict[str, tuple[list[object], type[pl.DataType]]] = {"metric": ([r["metric"] for r in rows], pl.String)}
    for metric, column in METRICS.items():
        values: list[object] = [
            grade(metric, row["reference"], outputs.texts[row["id"]]) if row["metric"] == metric else None
            for row in rows
        ]
        columns[column] = (values, pl.Float64)
    columns["answer_loss"] = ([loss if math.isfinite(loss) else None for loss in losses], pl.Float64)
    return frame(rows, columns)


def grade(metric: str, reference: str, answer: str) -> float:
    """0 to 1."""
    if metric == "exact":
        return float(normalise(reference) == normalise(answer))
    if metric == "number":
        return float(final_number(reference) == final_number(answer))
    return rouge1(reference, answer)


def normalise(value: str) -> str:
    """SQuAD's normalisation; a text that would lose everything by it is only case-folded."""
    words = value.casefold().translate(_PUNCTUATION).split()
    kept = [word for word in words if word not in ("a", "an", "the")]
    return " ".join(kept) or " ".join(value.casefold().split())


def final_number(value: str) -> Decimal | None:
    """The first number after the last ####, else the last one of all; thousands may be parted by commas."""
    parted = value.rsplit("####", 1)
    found = _NUMBER.findall(parted[-1])
    if not found:
        return None
    return Decimal((found[0] if len(parted) > 1 else found[-1]).replace(",", ""))


def metrics(scores: pl.DataFrame) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for metric, column in METRICS.items():
        rows = scores.filter(pl.col("metric") == metric)
        if len(rows):
            found[column] = measure_mean(rows[column].to_list(), "higher")
    return found | {"answer_loss": measure_mean(scores["answer_loss"].to_list(), "lower")}


SUITE = Suite("task", True, check, answers, score, metrics)
