"""What the tracked run of a scoring holds: the losses before and after, by source and as histograms."""

import numpy as np
import polars as pl

from forgetfilter.process.peak_memory import stage_peak
from forgetfilter.process.tracking import Tracker
from forgetfilter.score.stage import Scoring
from forgetfilter.storage import artifacts
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import STATES, evenly, scan_shards


def log_scoring(scoring: Scoring, tracker: Tracker) -> None:
    """Logs a scoring that is done: means over label tokens, in nats. Reads nothing where nothing is tracked."""
    if tracker.run is None:
        return
    paths = scoring.paths
    with tracker.or_without():
        before, after = (_by_source(paths, state) for state in STATES)
        told = {f"loss/{state}": _mean(frame) for state, frame in (("before", before), ("after", after))}
        examples, tokens = (int(before[name].sum()) for name in ("examples", "num_tokens"))
        tracker.summary({"examples": examples, "label_tokens": tokens} | told | stage_peak())
        joined = before.join(after.select("source", after="loss"), on="source").rename({"loss": "before"})
        table = joined.select("source", "examples", "before", "after").sort("examples", "source", descending=True)
        tracker.table("loss by source", table.columns, table.rows())
        for state in STATES:
            rows = evenly(scan_shards(paths.signals(state)))
            losses = rows.select(pl.col("loss_sum") / pl.col("num_tokens")).collect(engine="streaming")
            tracker.histogram(f"losses/{state}", losses.to_series().to_numpy().astype(np.float64))
        used = [artifacts.data(paths, "noisy"), *(artifacts.model(paths, name) for name in STATES.values())]
        tracker.lineage(used, [artifacts.signals(paths)])


def _by_source(paths: RunPaths, state: str) -> pl.DataFrame:
    """`source`, `examples`, `loss_sum`, `num_tokens`, and `loss`, null for a source without label tokens."""
    sums = [pl.len().alias("examples"), pl.col("loss_sum").sum(), pl.col("num_tokens").cast(pl.Int64).sum()]
    found = scan_shards(paths.signals(state)).group_by("source").agg(sums).collect(engine="streaming")
    return found.with_columns(loss=pl.col("loss_sum") / pl.col("num_tokens").replace(0, None))


def _mean(frame: pl.DataFrame) -> float | None:
    tokens = int(frame["num_tokens"].sum())
    return float(frame["loss_sum"].sum()) / tokens if tokens else None
