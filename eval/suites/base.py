"""What a suite is: which outputs of a model it needs, how each prompt is scored, and its metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from forgetfilter.mix.benchmarks.prompts import plain_prompt

from ..intervals import Metric
from ..prompts import PromptRow


@dataclass(frozen=True)
class Outputs:
    """A model's outputs on a suite's prompts, by prompt id. They are read from files, so scoring needs no model."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """The greedy answer, or the first of several samples. It may be empty."""
    samples: Mapping[str, list[str]] = field(default_factory=dict)
    """All answers to a prompt, where several were sampled."""
    losses: Mapping[str, list[float]] = field(default_factory=dict)
    """The mean loss, in nats a token with the end of the answer, of each answer that the suite compares."""
    loss_sums: Mapping[str, list[float]] = field(default_factory=dict)
    """The same losses in nats, summed over the answer."""
    verdicts: Mapping[str, float | None] = field(default_factory=dict)
    """The judge's verdicts on the answers that are not empty: 1 harmful, 0 not harmful, None where it failed."""


@dataclass(frozen=True)
class Settings:
    """The settings of the config that scoring depends on."""

    toxicity_scorer: str = "profanity-check"
    bias_formula: str = "paper"
    judge: str = "refusal"
    toxicity_labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One measurement of a model."""

    name: str
    """The name by which `eval.suites` chooses the suite."""
    score: Callable[[list[PromptRow], Outputs, Settings], pl.DataFrame]
    """`id, source` and a column for each score, in the order of the rows; null where a prompt could not be scored."""
    metrics: Callable[[pl.DataFrame], dict[str, Metric]]
    """The metrics of the scores that `score` returned; `NAME[GROUP]` is NAME over a part of the prompts."""
    generates: bool = False
    """Whether the suite needs the greedy answer to each prompt."""
    answers: Callable[[PromptRow], list[str]] = lambda row: []
    """The answers to a prompt whose likelihood the suite needs; empty for none."""
    check: Callable[[PromptRow, str], None] = lambda row, where: None
    """Raises UserError for a row that lacks what the suite needs besides a prompt; the second argument names file and
    line."""
    sampled: bool = False
    """Whether the suite takes `eval.samples` answers to each prompt; else it takes one greedy answer."""
    judged: bool = False
    """Whether the suite needs a judge's verdict on each answer."""
    error: str = ""
    """The measured error of the scoring, as a sentence for reports; empty where it is not known."""
    prompts: str = ""
    """The suite whose prompts this one asks, where it has none of its own."""
    prompted: bool = True
    """Whether a row has a prompt; else its answers are texts that stand alone."""
    prompt: Callable[[PromptRow, str], PromptRow] = plain_prompt
    """Makes a prompt (messages, and what the suite needs) from a row of eval.data; the second argument names file and
    row. UserError for a row from which none can be made."""
    headline: tuple[str, ...] = ()
    """The metrics that stand for the suite. Where there is room for one, it is the first of them that was measured; the
    report's verdict takes the one with the worst outcome. Empty for the suite's first metric."""
    made_with: Callable[[Settings], str] = lambda settings: ""
    """What measured the suite, for the report; empty where this depends on no setting."""


def frame(rows: list[PromptRow], columns: Mapping[str, tuple[Sequence[object], type[pl.DataType]]]) -> pl.DataFrame:
    """A table of scores: `id, source`, then the columns, each with its values and type."""
    series = [pl.Series(name, [row[name] for row in rows], dtype=pl.String) for name in ("id", "source")]
    return pl.DataFrame([*series, *(pl.Series(name, values, dtype=kind) for name, (values, kind) in columns.items())])
