"""How well the number of unsafe rows is estimated, by probes drawn again and again: on scored runs with labels.

    python bench/unsafe_share.py RUN... [--draws 200] [--signal distilled_excess] [--out FILE]

Labels measure alone. The scores are those of the run, with its own probes; as many others of its good rows, labelled
safe or task, and its probes are then drawn for probes, by chance or as many from each source. For both, of the estimate
as it is and of that with all probes alike: the mean error and its root mean square, as shares of the rows, how often
the interval of 90% holds the true number, and how often the number can be told from none.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from forgetfilter.filter import rules
from forgetfilter.filter.decide import scored
from forgetfilter.filter.rules.estimate import Estimate, estimate
from forgetfilter.filter.stage import settings
from numpy.typing import NDArray

from forgetfilter.storage.run_folder import Run

Rows = NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--signal", default="distilled_excess")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "unsafe_share.json")
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for folder in options.runs:
        run = Run.open(folder)
        chosen = replace(run.config, filter=replace(run.config.filter, signal=options.signal, combine=[]))
        with scored(settings(Run(run.folder, chosen))) as (table, _, scores, _):
            label = table.named("label", table.columns.read("label"))
            unsafe = np.flatnonzero((label == "unsafe").fill_null(False))
            good = np.flatnonzero(~(label == "unsafe").fill_null(False))  # probes among them
            for way in (by_chance, of_each_source):
                key = f"{folder.name}, {options.signal}, probes {way.__name__.replace('_', ' ')}"
                found[key] = measure(scores, unsafe, good, way, options.draws)
                print(key, json.dumps(found[key]), flush=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")


def by_chance(good: Rows, source: Rows, count: int, random: np.random.Generator) -> Rows:
    return random.choice(good, count, replace=False)


def of_each_source(good: Rows, source: Rows, count: int, random: np.random.Generator) -> Rows:
    of = [good[source[good] == one] for one in np.unique(source[good])]
    return np.concatenate([random.choice(rows, min(len(rows), round(count / len(of))), replace=False) for rows in of])


def measure(scores: rules.Scores, unsafe: Rows, good: Rows, way: object, draws: int) -> dict[str, dict[str, float]]:
    """{"weighed", "alike": {"error", "rms", "held", "told"}}."""
    assert scores.probe is not None and callable(way)
    random, seen = np.random.default_rng(0), {"weighed": list[list[float]](), "alike": list[list[float]]()}
    for _ in range(draws):
        probe = np.zeros(len(scores.score), dtype=np.bool_)
        probe[way(good, scores.source, int(scores.probe.sum()), random)] = True
        known = estimate(scores.score, probe, scores.source)
        assert known is not None
        alike = replace(known, weight=np.full(len(known.probes), 1 / len(known.probes)))
        seen["weighed"].append(judged(known, len(unsafe)))
        seen["alike"].append(judged(alike, len(unsafe)))
    return {name: summed_up(np.array(rows)) for name, rows in seen.items()}


def summed_up(rows: NDArray[np.float64]) -> dict[str, float]:
    error, held, told = rows.T
    found = {"error": error.mean(), "rms": (error**2).mean() ** 0.5, "held": held.mean(), "told": told.mean()}
    return {name: round(float(value), 3) for name, value in found.items()}


def judged(known: Estimate, true: int) -> list[float]:
    value, low, high = known.unsafe
    return [(value - true) / known.rows, low <= true <= high, low > 0]


if __name__ == "__main__":
    main()
