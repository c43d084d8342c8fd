"""What a signal is: an expression over the joined table, higher for what was forgotten more.

A quantity that falls with forgetting is negated in its file.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

LOSS_COLUMNS = ("num_tokens", "before_loss_sum", "after_loss_sum")
ROUGE_COLUMNS = ("before_rouge1", "after_rouge1")


@dataclass(frozen=True)
class Stored:
    """Further columns of the joined table, which an earlier stage stores only where it is asked to."""

    columns: tuple[str, ...]
    setting: str
    """The attribute of the configuration that asks for them: `score.tokens`, or `has_probes` and `has_control`."""
    lacking: str
    """What is missing without them, and what to do; it completes `filter.signal=NAME needs ...`."""
    folder: str = ""
    """The folder below signals/ whose shards hold them, one row for each example, under the same names; `loss_sum`
    there is called FOLDER_loss_sum here. Empty where filter/table/stored_columns.py reads them in another way."""


@dataclass(frozen=True, eq=False)  # polars expressions have no plain equality
class Signal:
    """How much of each example was forgotten between M1 (before) and M2 (after).

    A signal has either `expression`, or `fit` where the score of a row depends on other rows.
    """

    name: str
    """Its name in `filter.signal`."""
    needs: tuple[str, ...]
    """Columns of the joined table that the expression reads."""
    unit: str
    """The unit of the score, and so of filter.phi."""
    doc: str
    """One line for reports and docs/signals.md."""
    axis: str = ""
    """The title of an axis of scores in charts; empty for the name and the unit."""
    expression: pl.Expr | None = None
    """Gives a float64 for each row, or null where an example has no label tokens."""
    fit: Callable[[pl.DataFrame], pl.Expr] | None = None
    """Makes the expression from a deterministic sample of at most 1,000,000 rows with the columns of `needs`."""
    stored: tuple[Stored, ...] = ()
    """What it needs besides the losses of the two scorings."""
    foretold: tuple["Signal", ...] = ()
    """Signals whose ranks filter/foretell.py foretells from the texts: the columns `foretold_NAME` among `needs`."""
    of_losses: bool = False
    """Whether the score depends on l1 and l2 alone and never falls with l2, so that a threshold is a line in the
    map."""

    def score(self, rows: pl.DataFrame) -> pl.Series:
        """The scores of some rows, by themselves; null or NaN where there is none."""
        own = rows.select(self.needs)
        return own.select(score=self.bind(own)).to_series()

    def bind(self, sample: pl.DataFrame) -> pl.Expr:
        """The expression for every row. It is pointwise, so that tables of any size can be streamed through it."""
        if self.fit is not None:
            return self.fit(sample)
        assert self.expression is not None
        return self.expression


def mean_loss(state: str) -> pl.Expr:
    """Mean answer loss in nats a token, `state` being before (l1) or after (l2); null without label tokens."""
    return where_tokens(pl.col(f"{state}_loss_sum") / pl.col("num_tokens"))


def where_tokens(value: pl.Expr) -> pl.Expr:
    """The value for examples with label tokens, and null for the others, of which nothing was learned."""
    return pl.when(pl.col("num_tokens") > 0).then(value)
