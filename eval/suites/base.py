"""What a suite is: which outputs of a model it needs, how each prompt is scored, and what the scores come to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

from forgetfilter.mix.benchmarks.prompts import plain_prompt

from ..intervals import Metric
from ..prompts import PromptRow


@dataclass(frozen=True)
class Outputs:
    """What a model gave to a suite's prompts, by prompt id. Read from files: scoring needs no model."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """The greedy answer, or the first of several samples; may be empty."""
    samples: Mapping[str, list[str]] = field(default_factory=dict)
    """All answers to a prompt, where several were sampled."""
    losses: Mapping[str, list[float]] = field(default_factory=dict)
    """Mean loss in nats a token (the end of the answer included) of each of the answers that the suite compares."""
    loss_sums: Mapping[str, list[float]] = field(default_factory=dict)
    """The same losses in nats, summed over the answer."""
    verdicts: Mapping[str, float | None] = field(default_factory=dict)
    """What the judge says of the answers that are not empty: 1 harmful, 0 not, None where it failed."""


@dataclass(frozen=True)
class Settings:
    """The config's part in scoring."""

    toxicity_scorer: str = "profanity-check"
    bias_formula: str = "paper"
    judge: str = "refusal"
    toxicity_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """One measurement of a model."""

    name: str
    """As `eval.suites` calls it."""
    generates: bool
    """Whether it needs the greedy answer to each prompt."""
    check: Callable[[PromptRow, str], None]
    """Raises UserError for a row that lacks what the suite needs; the second argument names file and line."""
    answers: Callable[[PromptRow], list[str]]
    """The answers to a prompt whose likelihood it needs; empty for none."""
    score: Callable[[list[PromptRow], Outputs, Settings], pl.DataFrame]
    """`id, source` and a column a score, in the order of the rows; null where a prompt could not be scored."""
    metrics: Callable[[pl.DataFrame], dict[str, Metric]]
    """The metrics of scores that `score` gave; `NAME[GROUP]` is NAME over a part of the prompts."""
    sampled: bool = False
    """Whether it takes `eval.samples` answers a prompt; else one greedy answer."""
    judged: bool = False
    """Whether it needs a judge's verdict on each answer."""
    error: str = ""
    """How far its scoring was measured to err, as a sentence for reports; empty where that is not known."""
    prompts: str = ""
    """The suite whose prompts it asks, where these are not its own."""
    prompted: bool = True
    """Whether a row has a prompt; else its answers are texts that stand alone."""
    prompt: Callable[[PromptRow, str], PromptRow] = plain_prompt
    """Makes a prompt (messages, and what the suite needs) of a row of eval.data; the second argument names file and
    row. UserError for a row that gives none."""
    headline: tuple[str, ...] = ()
    """The metrics that stand for the suite: where there is room for one the first that there is, in the report's
    verdict the one that tells worst. Empty for its first."""
    made_with: Callable[[Settings], str] = lambda settings: ""
    """What its numbers were made with, for the report; empty where no setting has a say."""


def no_answers(row: PromptRow) -> list[str]:
    """For suites that need no likelihood."""
    return []


def frame(rows: list[PromptRow], columns: Mapping[str, tuple[list[object], type[pl.DataType]]]) -> pl.DataFrame:
    """A table of scores: `id, source`, then the columns, each with its values and type."""
    series = [pl.Series(name, [row[name] for row in rows], dtype=pl.String) for name in ("id", "source")]
    return pl.DataFrame([*series, *(pl.Series(name, values, dtype=kind) for name, (values, kind) in columns.items())])
