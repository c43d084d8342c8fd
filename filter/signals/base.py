"""What a signal is: an expression over the joined table, higher for what was forgotten more.

One that falls with forgetting is negated in its file.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

LOSS_COLUMNS = ("num_tokens", "before_loss_sum", "after_loss_sum")
ROUGE_COLUMNS = ("before_rouge1", "after_rouge1")


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
    """One line for reports."""
    expression: pl.Expr | None = None
    """One float64 a row, or null where an example has no label tokens."""
    fit: Callable[[pl.DataFrame], pl.Expr] | None = None
    """To the expression, from a deterministic sample of at most 1,000,000 rows with the columns of `needs`."""

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
