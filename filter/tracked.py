"""What the tracked run of a decision holds: its figures, how the scores are spread, and the dropped rows, masked."""

from itertools import islice
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forgetfilter.process.tracked_run import Cell
from forgetfilter.process.tracking import Tracker
from forgetfilter.storage import artifacts
from forgetfilter.storage.formats import Summary, figures
from forgetfilter.storage.results import read_dropped
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import evenly

from .decisions import stored
from .inspecting.texts import prompt_of, shown

ROWS = 1000  # dropped rows that are logged, the most forgotten first
KNOWN = ("id", "source", "label", "score", "rank", "p_value", "reason")


def log_decision(paths: RunPaths, summary: Summary, tracker: Tracker) -> None:
    """Logs a decision that is written. Reads nothing where nothing is tracked."""
    if tracker.run is None:
        return
    with tracker.or_without():
        tracker.log({"kept": summary["kept"], "dropped": summary["dropped"], **figures(summary["quality"])})
        tracker.summary({"threshold": summary["threshold"]})
        counts = [(source, one["kept"], one["dropped"]) for source, one in summary["by_source"].items()]
        tracker.table("by source", ("source", "kept", "dropped"), counts)
        for name, dropped in (("kept", False), ("dropped", True)):
            tracker.histogram(f"scores/{name}", _scores(paths, dropped))
        rows = [_masked(record) for record in islice(read_dropped(paths.folder), ROWS)]
        tracker.table("dropped", (*KNOWN, "prompt", "answer"), rows)
        used = [artifacts.data(paths, "noisy"), artifacts.signals(paths)]
        tracker.lineage(used, [artifacts.decision(paths)])


def _scores(paths: RunPaths, dropped: bool) -> NDArray[np.float64]:
    rows = stored(paths).filter(pl.col("drop") == dropped).select(pl.col("score").cast(pl.Float64))
    return evenly(rows).collect().to_series().drop_nulls().to_numpy()


def _masked(record: dict[str, Any]) -> list[Cell]:
    """A dropped row without its texts, of which only the lengths are told, as in the terminal."""
    messages = record["messages"]
    texts = (prompt_of(messages), str(messages[-1]["content"]))
    return [*(record.get(key) for key in KNOWN), *(shown(text, 0, reveal=False) for text in texts)]
