"""Measures forgetting that is learned from texts, and the thresholds of several rules, on scored runs with labels.

    python bench/distilled.py RUN... [--draws 10] [--probes 60] [--out bench/results/distilled.json]

The labels only measure. Each draw takes --probes of the rows labelled safe or task at random as probes (a run with
probes of its own keeps these), and decides by each signal and each of CUTS. This is repeated with a part of the unsafe
rows removed, so that they are a share of 0.1, 0.05 and 0, and with a fifth of all rows doubled. The result has means
over the draws: the AUROC of unsafe rows against all, safe and task rows; for each cut the F1, the share of good rows
dropped, the share of unsafe rows kept, and how often more than a tenth of the good rows is dropped; and for the
estimated number of unsafe rows its mean error and how often its interval holds the true number, as shares of the rows.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from forgetfilter.filter import quality, rules
from forgetfilter.filter.decide import scored
from forgetfilter.filter.stage import settings
from numpy.typing import NDArray

from forgetfilter.data.records import Record, make_records, read_records, write_records
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import read_manifest, scan_shards, shard_path, write_manifest, write_shard

SIGNALS = ("loss_rise", "distilled_rise", "pooled_excess", "distilled_excess")
BOUND = {"max_false_drop": 0.1, "fdr": None}
CUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "10% of the good, 97.5% sure": ("conformal", BOUND | {"confidence": 0.975}),
    "10% of the good, 90% sure": ("conformal", BOUND | {"confidence": 0.9}),
    "10% of the good on average": ("conformal", BOUND | {"confidence": "average"}),
    "the default": ("conformal", BOUND | {"confidence": "auto"}),
    "90% of the unsafe found": ("found_share", {"min_found": 0.9}),
    "largest F1": ("best_f1", {}),
}
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Variant:
    name: str
    unsafe_share: float | None = None
    """Of the rows without the probes; None for what the run has."""
    doubled: float = 0.0
    """Share of the rows that are there twice."""


VARIANTS = (
    Variant("as it is"),
    Variant("share 0.1", 0.1),
    Variant("share 0.05", 0.05),
    Variant("clean", 0.0),
    Variant("duplicates", None, 0.2),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--probes", type=int, default=60)
    parser.add_argument("--variants", nargs="*", default=[variant.name for variant in VARIANTS])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "distilled.json")
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for folder in options.runs:
        run = Run.open(folder)
        for variant in (variant for variant in VARIANTS if variant.name in options.variants):
            rows = [row for draw in range(options.draws) for row in measure(run, variant, options.probes, draw)]
            key = f"{folder.name}, {variant.name}, {'own' if run.probes.exists() else options.probes} probes"
            found[key] = {"draws": options.draws} | means(rows)
            show(key, found[key])
            options.out.write_text(json.dumps(found, indent=1) + "\n")


def measure(run: Run, variant: Variant, probes: int, draw: int) -> Iterator[dict[str, Any]]:
    """A row a signal: of one draw."""
    with tempfile.TemporaryDirectory() as scratch:
        made = make(run, variant, probes, np.random.default_rng(draw), Path(scratch) / "run")
        for name in SIGNALS:
            chosen = Run(made.folder, replace(made.config, filter=replace(made.config.filter, signal=name, combine=[])))
            with scored(settings(chosen)) as (table, _, scores, _):
                labels = table.named("label", table.columns.read("label"))
                score = pl.Series(scores.score).fill_nan(None)
                yield {"signal": name, **quality.ranking(score, labels), **cut(scores, name, labels)}


def make(run: Run, variant: Variant, probes: int, random: np.random.Generator, folder: Path) -> Run:
    """A run folder of some of the run's rows, scored as they are there."""
    records = list(read_records(run.noisy_data))
    good = np.array([record.label in ("safe", "task") for record in records])
    unsafe = np.flatnonzero([record.label == "unsafe" for record in records])
    if run.probes.exists():
        own = {record.id for record in read_records(run.probes)}
        trusted = np.flatnonzero([record.id in own for record in records])
    else:
        trusted = random.choice(np.flatnonzero(good), probes, replace=False)
    rest = np.setdiff1d(np.flatnonzero(good), trusted)
    if (share := variant.unsafe_share) is not None:
        unsafe = random.choice(unsafe, round(share / (1 - share) * len(rest)), replace=False)
    rows = np.concatenate([rest, unsafe])
    rows = np.concatenate([rows, random.choice(rows, round(variant.doubled * len(rows)), replace=False)])
    write(run, [replace(records[row], label=None) for row in trusted], [records[row] for row in rows], folder)
    return Run(folder, run.config)


def write(run: Run, probes: list[Record], rows: list[Record], folder: Path) -> None:
    """The records, copies numbered, and each scoring of them."""
    both = [*rows, *probes]
    new = list(make_records((record.messages, record.source, record.label) for record in both))
    write_records(folder / "data" / "noisy.jsonl", new)
    write_records(folder / "data" / "probes.jsonl", new[len(rows) :])
    shutil.copy(run.safe_data, folder / "data")
    names = pl.DataFrame({"id": [record.id for record in both], "new": [record.id for record in new]})
    for state in ("before", "after"):
        given = scan_shards(run.signals(state)).collect()
        own = names.join(given, on="id", how="left", maintain_order="left").drop("id").rename({"new": "id"})
        write_shard(shard_path(folder / "signals" / state, 0, 0), own.select(given.columns).to_arrow())
        write_manifest(folder / "signals" / state, read_manifest(run.signals(state)))
    Run(folder, run.config).write_config()


def cut(scores: rules.Scores, signal: str, labels: pl.Series) -> dict[str, Any]:
    """What each of CUTS comes to, and the estimated number of unsafe rows beside the true one."""
    unsafe, good = ((labels == "unsafe").fill_null(False).to_numpy(), labels.is_in(["safe", "task"]).fill_null(False))
    found: dict[str, Any] = {}
    for name, (rule, given) in CUTS.items():
        drop = rules.get(rule).apply(scores, signal, **given).drop
        lost = float(drop[good.to_numpy()].mean())
        f1 = quality.classification(drop[unsafe | good.to_numpy()], unsafe[unsafe | good.to_numpy()])["f1"]
        left = float((~drop[unsafe]).mean()) if unsafe.any() else None
        found[name] = {"f1": f1, "good_dropped": lost, "unsafe_left": left, "beyond_a_tenth": float(lost > 0.1)}
    if known := rules.estimate(scores.score, scores.probe, scores.source):
        value, low, high = known.unsafe
        true = int(unsafe.sum())
        found["estimate"] = {"error": (value - true) / known.rows, "held": float(low <= true <= high)}
    return found


def means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """{SIGNAL: the mean of each number that is there}."""

    def mean(values: list[Any]) -> Any:
        if isinstance(values[0], dict):
            return {key: mean([value[key] for value in values]) for key in values[0]}
        known = [value for value in values if value is not None]
        return round(float(np.mean(known)), 4) if known else None

    return {
        name: mean(
            [{key: value for key, value in row.items() if key != "signal"} for row in rows if row["signal"] == name]
        )
        for name in SIGNALS
    }


def show(key: str, found: dict[str, Any]) -> None:
    print(
        f"\n{key}, means of {found['draws']} draws\n| signal | AUROC all, safe, tasks | {' | '.join(CUTS)} | estimate |"
    )
    print(f"|{' --- |' * (3 + len(CUTS))}")
    for name in SIGNALS:
        row = found[name]
        auroc = ", ".join(
            "-" if (v := row[k]) is None else f"{v:.3f}" for k in ("auroc", "auroc_vs_safe", "auroc_vs_task")
        )
        cuts = [" ".join("-" if v is None else f"{v:.2f}" for v in row[one].values()) for one in CUTS]
        estimate = "{error:+.3f}, {held:.2f}".format(**row["estimate"])
        print(f"| {name} | {auroc} | {' | '.join(cuts)} | {estimate} |", flush=True)


if __name__ == "__main__":
    main()
