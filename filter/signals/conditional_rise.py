"""Loss rise compared with rows of similar loss and length: (rise - median) / (spread + floor) within the row's cell.

Rows of the sample are put into cells by quantiles of l1 and, within each, of the length; a cell's spread is its
median absolute deviation times 1.4826, which is the standard deviation of a normal distribution, and the floor is
the median spread of the cells. Long or hard examples move more, so each is compared with its own kind. For a
given row the score rises with l2 alone, whatever the cells are.

Example: rises 0.0, 0.1, 0.2 in a cell, spread 0.148 and floor 0.148: the third row scores 0.1 / 0.297 = 0.337.
"""

import numpy as np
import polars as pl

from .base import LOSS_COLUMNS, Signal, mean_loss

LOSS_CELLS, LENGTH_CELLS = 5, 4
CELL_ROWS = 20  # the median of fewer rows says little
TINY_NATS = 1e-6

RISE = mean_loss("after") - mean_loss("before")


def fit(sample: pl.DataFrame) -> pl.Expr:
    """The score by the cells of the sample."""
    share = np.sqrt(min(1.0, sample.height / (LOSS_CELLS * LENGTH_CELLS * CELL_ROWS)))
    columns, rows = max(1, int(LOSS_CELLS * share)), max(1, int(LENGTH_CELLS * share))
    known = sample.filter(pl.col("num_tokens") > 0)
    in_loss = _cell(mean_loss("before"), known, columns)
    in_length = [
        _cell(pl.col("num_tokens").cast(pl.Float64), known.filter(in_loss == number), rows) for number in range(columns)
    ]
    within = pl.coalesce(pl.when(in_loss == number).then(cell) for number, cell in enumerate(in_length))
    cell = in_loss * rows + within
    return normalised(RISE, cell, known)


def normalised(value: pl.Expr, group: pl.Expr, sample: pl.DataFrame) -> pl.Expr:
    """(value - median) / (spread + floor) within the groups of the sample; a new group takes the numbers of all
    rows."""
    rows = sample.select(value=value, group=group.cast(pl.Int64)).drop_nulls()
    spread = (pl.col("value") - pl.col("value").median()).abs().median() * 1.4826
    if not len(rows):
        return value
    cells = rows.group_by("group").agg(median=pl.col("value").median(), spread=spread).sort("group")
    floor = max(cells.select(pl.col("spread").median()).item() or 0.0, TINY_NATS)
    everything = rows.select(median=pl.col("value").median(), spread=spread).row(0)
    median, width = (
        group.cast(pl.Int64).replace_strict(
            cells["group"], cells[name], default=pl.lit(everything[number]), return_dtype=pl.Float64
        )
        for number, name in enumerate(("median", "spread"))
    )
    return (value - median) / (width + floor)


def _cell(value: pl.Expr, sample: pl.DataFrame, count: int) -> pl.Expr:
    """Which of `count` quantile cells a value falls into, 0 to count - 1."""
    known = sample.select(value).to_series().drop_nulls()
    edges = [] if not len(known) else [float(known.quantile(i / count) or 0.0) for i in range(1, count)]
    return pl.sum_horizontal(pl.lit(0), *((value > edge).cast(pl.Int32) for edge in edges))


SIGNAL = Signal(
    name="conditional_rise",
    needs=LOSS_COLUMNS,
    fit=fit,
    unit="spreads",
    doc="loss rise less the median of rows of like loss and length, over its spread",
)
