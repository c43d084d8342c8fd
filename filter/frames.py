"""The decision on a table in memory, by the very code that decides on a run folder: what is behind forgetfilter.api."""

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from forgetfilter.config.bounds import check_bounds
from forgetfilter.config.filter_checks import lacking
from forgetfilter.config.schema import AUTO, FilterConfig
from forgetfilter.errors import UserError, nearest
from forgetfilter.storage.shards import STATES, shard_path, write_manifest, write_shard

from . import rules, signals
from .decide import make_decisions, make_scores
from .probes import read_probes
from .signals.base import LOSS_COLUMNS
from .table.joined_table import joined

INDEX = ("id", "source", "label")


def decided(
    losses: pl.DataFrame, signal: str, rule: str, probes: Collection[str], settings: Mapping[str, object]
) -> pl.DataFrame:
    """The columns of decisions.parquet for a table with `id, source, label` and LOSS_COLUMNS, in its order.

    `probes` are ids. Further columns are there for signals that read them. UserError for a signal that reads what the
    table has not, a rule that cannot decide so, or a setting that it does not know.
    """
    chosen = signals.get(signal, "signal")
    options = _options(AUTO[bool(probes)][1] if rule == "auto" else rule, settings, len(probes))
    decider = rules.get(options.rule)
    further = [name for name in chosen.needs if name in losses.columns and name not in LOSS_COLUMNS]
    if any(name.startswith("foretold_") for name in chosen.needs):
        raise UserError(f"signal={signal} reads the texts of the rows: use forgetfilter filter --from")
    with tempfile.TemporaryDirectory(prefix="forgetfilter-") as scratch:
        folder = Path(scratch)
        losses.select(INDEX).write_parquet(folder / "index.parquet")
        for state in STATES:
            _write_losses(folder / "signals" / state, losses, state)
        with joined(folder / "index.parquet", folder / "signals", []) as table:
            for name in further:
                table.columns.write(name, losses[name].cast(pl.Float64).fill_null(float("nan")).to_numpy())
            if probes:
                pl.DataFrame({"id": list(probes)}).write_ndjson(folder / "probes.jsonl")
            scores = make_scores(table, chosen, read_probes(folder / "probes.jsonl", table))
            given = {key: getattr(options, key) for key in decider.settings}
            nobody = np.zeros(table.count, dtype=np.int8)
            decisions = make_decisions(table, scores, chosen, decider, given, nobody)
            return pl.concat([pl.DataFrame(piece) for piece in decisions.tables()])


def _options(rule: str, settings: Mapping[str, Any], probes: int) -> FilterConfig:
    """The section `filter` with a rule's settings, checked."""
    decider = rules.get(rule)
    for key in settings:
        if key not in decider.settings:
            raise UserError(f"{key} is no setting of the rule {rule}{nearest(key, decider.settings)}")
    options = replace(FilterConfig(), rule=rule, **settings)
    check_bounds(options)
    if said := lacking(decider, options):
        raise UserError(said)
    if probes < decider.fewest_probes:
        raise UserError(f"rule={rule} needs at least {decider.fewest_probes} probes, got {probes}")
    return options


def _write_losses(folder: Path, losses: pl.DataFrame, state: str) -> None:
    shard = losses.select("id", pl.col("num_tokens").cast(pl.Int32), loss_sum=f"{state}_loss_sum")
    write_shard(shard_path(folder, 0, 0), shard.to_arrow(compat_level=pl.CompatLevel.oldest()))
    write_manifest(folder, {"rows": len(losses)})
