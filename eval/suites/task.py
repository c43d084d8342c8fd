"""The downstream task: the greedy answer is compared with a reference, and the reference's likelihood is measured.

Each row names its metric:
- squad (Rajpurkar et al. 2016) gives exact_match and f1 over the words, each the best over all references; case,
  punctuation, articles and spaces do not count.
- exact gives the same exact_match, for closed answers such as the labels of SST-2 (Socher et al. 2013) and AG News
  (Zhang et al. 2015).
- number gives number_match: whether the answer's last number, or the one after ####, equals the reference's, as in
  GSM8K (Cobbe et al. 2021).
- rouge1 gives rouge1 and rougeL (Lin 2004): see forgetfilter.score.rouge.

answer_loss is the mean over all rows of the reference's loss in nats a token. An empty answer is wrong and not missing,
because a model that no longer answers has lost the task.

Example: for the reference "The Nile", the answer "nile." matches; "the river Nile" does not, and has an f1 of 2/3.
"""

import math
import re
import string
from collections import Counter
from decimal import Decimal

import polars as pl

from forgetfilter.errors import UserError
from forgetfilter.mix.benchmarks.prompts import task_prompt

from ..intervals import Metric, measure_mean
from ..prompts import PromptRow, choice, text
from .base import Outputs, Settings, Suite, frame

# The columns of each metric that a row may name.
METRICS = {
    "squad": ("exact_match", "f1"),
    "exact": ("exact_match",),
    "number": ("number_match",),
    "rouge1": ("rouge1", "rougeL"),
}
COLUMNS = tuple(dict.fromkeys(column for columns in METRICS.values() for column in columns))
# A minus belongs to a number unless it joins two words or numbers, as in "5-10".
_NUMBER = re.compile(r"(?:(?<![\w.])-)?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def check(row: PromptRow, where: str) -> None:
    """A row needs reference and metric; the reference must hold a number where the metric is number."""
    text(row, "reference", where)
    choice(row, "metric", tuple(METRICS), where)
    if row["metric"] == "number" and final_number(row["reference"]) is None:
        raise UserError(f"{where}: metric is number, but the reference holds none: {row['reference'][:80]!r}")


def answers(row: PromptRow) -> list[str]:
    return [row["reference"]]


def score(rows: list[PromptRow], outputs: Outputs, settings: Settings) -> pl.DataFrame:
    """`metric`, the columns of each metric, which are null in the rows of another one, and `answer_loss`."""
    losses = [outputs.losses[row["id"]][0] for row in rows]
    grades = [grade(row, outputs.texts[row["id"]]) for row in rows]
    return frame(
        rows,
        {
            "metric": ([row["metric"] for row in rows], pl.String),
            **{column: ([graded.get(column) for graded in grades], pl.Float64) for column in COLUMNS},
            "answer_loss": ([loss if math.isfinite(loss) else None for loss in losses], pl.Float64),
        },
    )


def grade(row: PromptRow, answer: str) -> dict[str, float]:
    """The values of the row's metric in [0, 1], by column."""
    from forgetfilter.score.rouge import rouge  # loads torch, which checking a name does not need

    reference, metric = row["reference"], row["metric"]
    if metric == "squad":
        references = [str(given) for given in row.get("references") or [reference]]
        words = squad_words(answer)
        return {
            "exact_match": max(float(squad_words(given) == words) for given in references),
            "f1": max(word_f1(squad_words(given), words) for given in references),
        }
    if metric == "exact":
        return {"exact_match": float(normalise(reference) == normalise(answer))}
    if metric == "number":
        return {"number_match": float(final_number(reference) == final_number(answer))}
    return {"rouge1": rouge(reference, answer, "rouge1"), "rougeL": rouge(reference, answer, "rougeL")}


def squad_words(value: str) -> list[str]:
    """The words that SQuAD's official script compares: in lower case, without ASCII punctuation and articles."""
    return _ARTICLES.sub(" ", value.lower().translate(_PUNCTUATION)).split()


def word_f1(reference: list[str], answer: list[str]) -> float:
    """The F-measure of the common words, each counted as often as both have it; 0 for two empty lists, as in SQuAD."""
    common = sum((Counter(reference) & Counter(answer)).values())
    return 2 * common / (len(reference) + len(answer)) if common else 0.0


def normalise(value: str) -> str:
    """SQuAD's normalisation; a text that would lose all its words by it (a choice called A) is only lower-cased."""
    return " ".join(squad_words(value)) or " ".join(value.lower().split())


def final_number(value: str) -> Decimal | None:
    """The first number after the last ####, or without #### the last number; commas may separate thousands."""
    parted = value.rsplit("####", 1)
    found = _NUMBER.findall(parted[-1])
    if not found:
        return None
    return Decimal((found[0] if len(parted) > 1 else found[-1]).replace(",", ""))


def metrics(scores: pl.DataFrame) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for column in COLUMNS:
        kinds = [metric for metric, columns in METRICS.items() if column in columns]
        rows = scores.filter(pl.col("metric").is_in(kinds))
        if len(rows):
            found[column] = measure_mean(rows[column].to_list(), "higher")
    return found | {"answer_loss": measure_mean(scores["answer_loss"].to_list(), "lower")}


SUITE = Suite(
    name="task",
    score=score,
    metrics=metrics,
    generates=True,
    answers=answers,
    check=check,
    prompt=task_prompt,
    headline=("exact_match", "f1", "number_match", "rouge1"),
)
