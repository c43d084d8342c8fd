"""Forecasts of a signal's rank from the texts, by regressions that are fitted to a sample, for every row.

The sample has at most FITTED rows, which their ids choose at random, since ids are hashes. Probes are treated as any
row, so a probe's forecast is like that of any good row. At most as many rows of the safe set show what was not
forgotten. All cores or ranks make the forecasts in blocks, which are stored beside the other columns of the texts, and
a run that was stopped goes on with the missing blocks. The forecasts are made again when their sample changes.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forgetfilter.data.line_blocks import at
from forgetfilter.data.records import Record, read_records, to_record
from forgetfilter.files import sha256_file, sha256_value
from forgetfilter.storage.run_paths import RunPaths

from .rules.estimate import estimate
from .signals import Signal
from .signals.distilled import column
from .table.join import KEY
from .table.joined_table import Table
from .texts import forecast, text_columns
from .texts.forecast import Forecast

FITTED = 20_000  # rows; more would hardly change the weights of the words
TOO_FEW = (
    f"the texts foretell nothing of fewer than {forecast.FEWEST} scored rows: the signal ranks by the losses alone"
)
LOOKS_CLEAN = "the probes cannot tell the unsafe rows from none: the signal ranks by the losses alone"
NO_WORDS = "no words were found in the texts: the signal ranks by the losses alone"


def add_foretold(
    paths: RunPaths, table: Table, bases: Sequence[Signal], probe: NDArray[np.bool_] | None, nodes: int
) -> str:
    """Adds the column `foretold_NAME` of each signal to the table. Returns a line for people where there is no
    forecast.

    `probe`: [n] whether a row is a probe, None without any. Where they cannot tell the number of unsafe rows from none,
    neither by the forecasts nor by the losses, there are no forecasts: what words then explain is how harmless rows
    differ.
    """
    said = ""
    for base in bases:
        own = _scores(table, base)
        rows, ranks = _ranks(table, own)
        if len(rows) < forecast.FEWEST:
            said = TOO_FEW
            table.add_empty(column(base))
            continue
        about = text_columns.about(paths.folder / "signals", column(base)) | {"fit": Forecast.VERSION}
        about["safe"] = sha256_file(paths.safe_data) if paths.safe_data.exists() else None
        about["ranks"] = sha256_value([rows.tolist(), ranks.tolist()])
        if not text_columns.made(paths.signals("texts") / column(base), about):
            fitted = Forecast.fit(_records(paths, rows), ranks, _safe(paths))
            text_columns.make(paths, {column(base): about}, nodes, **{column(base): fitted})
        table.add(paths.noisy_data, paths.signals("texts") / column(base), column(base))
        foretold = table.sample[column(base)]
        if foretold.min() == foretold.max():
            said = NO_WORDS
        elif probe is not None and all(_looks_clean(table, by, probe) for by in (foretold.to_numpy(), own)):
            said = LOOKS_CLEAN
            table.add_empty(column(base))
    return said


def _looks_clean(table: Table, score: NDArray[np.float64], probe: NDArray[np.bool_]) -> bool:
    """Whether the probes leave it open that no row is unsafe, by the scores of the table's sample."""
    rows = table.sample["row"].to_numpy()
    known = estimate(score, probe[rows], table.columns.take("source", rows))
    return known is not None and known.may_be_none


def _scores(table: Table, base: Signal) -> NDArray[np.float64]:
    """Those of the table's sample, NaN where there is none."""
    return base.score(table.sample).fill_null(float("nan")).to_numpy()


def _ranks(table: Table, scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(rows, ascending; the ranks of their scores, 0 to 1) to fit to: rows with a score."""
    known = table.sample.select("row", KEY, score=scores).filter(pl.col("score").is_finite())
    chosen = known.bottom_k(FITTED, by=KEY).sort("row") if len(known) > FITTED else known
    rank = (pl.col("score").rank() - 0.5) / pl.len()
    return chosen["row"].to_numpy().astype(np.int64), chosen.select(rank).to_series().to_numpy()


def _records(paths: RunPaths, rows: NDArray[np.int64]) -> Iterator[Record]:
    yield from map(to_record, at(paths.noisy_data, rows.tolist()))


def _safe(paths: RunPaths) -> Iterator[Record]:
    return islice(read_records(paths.safe_data), FITTED) if paths.safe_data.exists() else iter(())
