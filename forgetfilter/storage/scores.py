"""What the stored scores of an evaluation have in common, whatever the suite: their names, and when one flips."""

import polars as pl


def names(scores: pl.DataFrame) -> list[str]:
    """The columns that are scores: numbers with a fraction, and yes or no."""
    return [name for name, kind in scores.schema.items() if kind == pl.Boolean or kind.is_float()]


def flipping(name: str, values: pl.Series) -> bool:
    """Whether a score can flip: it lies in [0, 1] wherever it is known, and is no loss."""
    known = values.drop_nulls()
    return "loss" not in name and len(known) > 0 and bool(known.is_between(0, 1).all())


def flipped(first: str, second: str) -> pl.Expr:
    """Whether a score crosses one half between two columns; null where one of the two is not known."""
    return (pl.col(first) > 0.5) != (pl.col(second) > 0.5)
