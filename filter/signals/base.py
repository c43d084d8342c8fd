"""What a signal is: an expression over the joined table, higher for what was forgotten more.

One that falls with forgetting is negated in its file.
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
    """What is missing where they are not there, and what to do: it ends `filter.signal=NAME needs ...`."""
    folder: str = ""
    """Below signals/ of the run, the shards that hold them, a row an example: under the same names, or as `loss_sum`
    what is called FOLDER_loss_sum here. Empty where filter/table/extras.py reads them in a way of its own."""


@dataclass(frozen=True, eq=False)  # polars expressions have no plain equality
class Signal:
    """How much of each example was forgotten between M1 (before) and M2 (after).

    Has either `expression`, or `fit` where a row's score depends on what other rows show.
    """

    name: str
    """As `filter.signal` calls it."""
    needs: tuple[str, ...]
    """Columns of the joined table that the expression reads."""
    unit: str
    """Of the score, and so of filter.phi."""
    doc: str
    """One line for reports and docs/signals.md."""
    axis: str = ""
    """The title of an axis of scores in charts; empty for the name and the unit."""
    expression: pl.Expr | None = None
    """One float64 a row, or null where an example has no label tokens."""
    fit: Callable[[pl.DataFrame], pl.Expr] | None = None
    """To the expression, from a deterministic sample of at most 1,000,000 rows with the columns of `needs`."""
    stored: tuple[Stored, ...] = ()
    """What it needs beside the losses of the two scorings."""
    foretold: tuple["Signal", ...] = ()
    """Signals whose ranks filter/foretell.py foretells from the texts: the columns `foretold_NAME` among `needs`."""
    of_losses: bool = False
    """Whether the score depends on l1 and l2 alone and never falls with l2: a threshold is then a line in the map."""

    def bind(self, sample: pl.DataFrame) -> pl.Expr:
        """The expression to apply to every row: pointwise, so that tables of any size stream through it."""
        if self.fit is not None:
            return self.fit(sample)
        assert self.expression is not None
        return self.expression


def mean_loss(state: str) -> pl.Expr:
    """Mean answer loss in nats a token, `state` being before (l1) or after (l2); null without label tokens."""
    return where_tokens(pl.col(f"{state}_loss_sum") / pl.col("num_tokens"))


def where_tokens(value: pl.Expr) -> pl.Expr:
    """The value of examples with label tokens, null of the others: nothing was learned of them."""
    return pl.when(pl.col("num_tokens") > 0).then(value)
