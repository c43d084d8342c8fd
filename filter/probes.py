"""Which examples are probes, and how much forgetting they show in their sources."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .signals.base import LOSS_COLUMNS, mean_loss
from .table.columns import Columns
from .table.joined_table import Table

PRIOR_ROWS = 7  # a source's mean is mixed with so many rows at the mean of all probes, since few probes say little


def read_probes(path: Path, table: Table, trusted: NDArray[np.bool_] | None = None) -> NDArray[np.bool_] | None:
    """[n] whether an example is a probe, from the records of the probes; None where there are none.

    `trusted`: [n] False for those that a person dropped, which are no probes any more. Adds the column `probe_rise` to
    the table.
    """
    if not path.exists():
        return None
    probe = np.zeros(table.count, dtype=np.bool_)
    probe[table.find(pl.read_ndjson(path.read_bytes(), schema={"id": pl.String})["id"])] = True
    if trusted is not None:
        probe &= trusted
    _add_rise(table.columns, probe)
    return probe


def _add_rise(columns: Columns, probe: NDArray[np.bool_]) -> None:
    """`probe_rise`: the mean loss rise (nats a token) of the probes of the row's source.

    A probe gets the mean of the other probes, so that it is compared as any good example is, and p-values against the
    probes hold.
    """
    rows = np.flatnonzero(probe)
    losses = pl.DataFrame({name: columns.take(name, rows) for name in LOSS_COLUMNS})
    rise = losses.select((mean_loss("after") - mean_loss("before")).fill_null(float("nan"))).to_series().to_numpy()
    rows, rise = rows[~np.isnan(rise)], rise[~np.isnan(rise)]
    if len(rows) < 2:  # nothing to compare a probe with
        return
    own, source = columns.take("source", rows), columns.read("source")
    size = int(source.max()) + 1
    count, total = np.bincount(own, minlength=size), np.bincount(own, rise, minlength=size)
    expected = ((total + PRIOR_ROWS * rise.mean()) / (count + PRIOR_ROWS)).take(source)
    others = (rise.sum() - rise) / (len(rise) - 1)
    expected[rows] = (total[own] - rise + PRIOR_ROWS * others) / (count[own] - 1 + PRIOR_ROWS)
    columns.write("probe_rise", expected)
