"""Measures how well every signal finds the unsafe rows of stored runs with labels, and F1 at the rules without labels.

    python bench/signals.py RUN... [--out bench/results/signals.json]

For each run and signal the result has the AUROC against all rows, against safe rows and against task rows, the AUPRC,
F1 at the automatic rules (otsu and mixture; null where they find no separation) and, with probes, at the rule
conformal, the share of good rows that conformal (with a bound of 0.1) and otsu drop, F1 with the true share known, and
the seconds. There are two controls: `oracle` reads the labels, and `pooled_chance` pools random numbers over the
clusters of pooled_rise. Choose a signal on the first run, and trust only the others.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from forgetfilter.filter import quality, signals
from forgetfilter.filter.probes import read_probes
from forgetfilter.filter.rules import conformal, mixture, otsu
from forgetfilter.filter.table.joined_table import joined
from forgetfilter.filter.texts import text_columns
from numpy.typing import NDArray

from forgetfilter.storage.run_folder import Run

COLUMNS = (
    "auroc",
    "auroc_vs_safe",
    "auroc_vs_task",
    "auprc",
    "f1_otsu",
    "f1_mixture",
    "f1_conformal",
    "f1_known_share",
)
MAX_FALSE_DROP = 0.1  # of the rule conformal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "signals.json")
    options = parser.parse_args()
    result = {folder.name: measure(Run.open(folder)) for folder in options.runs}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, rows in result.items():
        print(f"\n| {name} | {' | '.join(COLUMNS)} |\n|{' --- |' * (1 + len(COLUMNS))}")
        for row in sorted(rows, key=lambda row: -(row["auroc"] or 0)):
            shown = ["-" if row.get(key) is None else f"{row[key]:.3f}" for key in COLUMNS]
            print(f"| {row['signal']} | {' | '.join(shown)} |")


def measure(run: Run) -> list[dict[str, Any]]:
    start = time.perf_counter()
    text_columns.prepare(run, list(text_columns.COLUMNS))
    text_seconds = time.perf_counter() - start
    with joined(run.noisy_data, run.folder / "signals") as table:
        probe = read_probes(run.probes, table)  # first: it adds a column
        sample = table.sample
        probe = None if probe is None else probe[sample["row"].to_numpy()]
        rows = []
        for signal in signals.available(table.numbers):
            start = time.perf_counter()
            score = sample.select(score=signal.bind(sample.select(signal.needs))).to_series().fill_nan(None)
            seconds = time.perf_counter() - start + (text_seconds if "cluster" in signal.needs else 0)
            if score.is_not_null().any():  # a guard may have no verdict on any row
                rows.append(judged(signal.name, score, sample["label"], seconds, probe))
    oracle = (sample["label"] == "unsafe").cast(pl.Float64)
    chance = pl.Series(np.random.default_rng(0).random(len(sample)))
    pooled = pl.DataFrame({"cluster": sample["cluster"], "x": chance}).select(pl.col("x").mean().over("cluster"))["x"]
    controls = {"oracle": oracle, "pooled_chance": pooled}
    return rows + [judged(name, score, sample["label"], 0.0) for name, score in controls.items()]


def judged(
    name: str, score: pl.Series, label: pl.Series, seconds: float, probe: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """The row of a signal; probes have no label, so what is counted is of the other rows."""
    known, unsafe = score.fill_null(float("nan")).to_numpy(), (label == "unsafe").fill_null(False).to_numpy()
    given = label.is_not_null().to_numpy()

    def f1_of(drop: NDArray[np.bool_]) -> float | None:
        return quality.classification(drop[given], unsafe[given])["f1"]

    f1: dict[str, float | None] = {}
    for rule, cut in (("otsu", otsu.cut), ("mixture", mixture.cut)):
        threshold, _ = cut(known)
        drop = known > np.inf if threshold is None else known > threshold
        f1[f"f1_{rule}"] = None if threshold is None else f1_of(drop)
        f1[f"false_drops_{rule}"] = float(drop[given & ~unsafe].mean())
    if probe is not None:
        drop = conformal.decide(known, probe, MAX_FALSE_DROP, None).drop
        f1 |= {"f1_conformal": f1_of(drop), "false_drops": float(drop[given & ~unsafe].mean())}
    known, unsafe = known[given], unsafe[given]
    most = np.argsort(-known, kind="stable")[: int(unsafe.sum())]
    f1["f1_known_share"] = quality.classification(np.isin(np.arange(len(known)), most), unsafe)["f1"]
    return {"signal": name, **quality.ranking(score, label), **f1, "seconds": round(seconds, 3)}


if __name__ == "__main__":
    main()
