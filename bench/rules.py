"""Measures the rules without labels on simulated scores, without unsafe examples, with some, and with probes.

    python bench/rules.py [--repeats 100]

For scores of one group (many shapes, 100 to 10,000 scores) it measures the mean share that otsu and mixture drop, which
must be at most 0.02. For mixtures (unsafe shares of 0.05 to 0.5, D spreads apart) it measures F1. For conformal it
counts in how many of 100 mixtures at most 5% (10% with 120 examples) of the good examples were dropped, which must be
at least 95. The result is bench/results/rules.json.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from forgetfilter.filter.rules import conformal, mixture, otsu

Draw = Callable[[np.random.Generator, int], Any]
NULLS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.uniform(size=n),
    "skewed (Gumbel)": lambda rng, n: rng.gumbel(size=n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "lognormal": lambda rng, n: rng.lognormal(size=n),
    "heavy-tailed (t, 3)": lambda rng, n: rng.standard_t(3, n),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "discrete (Poisson 1)": lambda rng, n: rng.poisson(1, n).astype(float),
    "discrete (binomial of 4)": lambda rng, n: rng.binomial(4, 0.3, n) / 4,
}
SIZES, SHARES, DISTANCES = (100, 400, 1000, 10_000), (0.05, 0.1, 0.3, 0.5), (3.0, 4.0, 5.0)
RULES = {"otsu": otsu, "mixture": mixture}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100)
    repeats = parser.parse_args().repeats
    result = {"repeats": repeats, "nulls": nulls(repeats), "mixtures": mixtures(repeats), "conformal": calibrated(100)}
    path = Path(__file__).parent / "results" / "rules.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    worst = max(row[name] for row in result["nulls"] for name in RULES)
    print(f"nulls: worst mean share dropped {worst}; conformal: {min(r['within'] for r in result['conformal'])} of 100")


def drop(rule: Any, score: Any) -> Any:
    threshold, _ = rule.cut(score)
    return np.zeros(len(score), dtype=bool) if threshold is None else score > threshold


def nulls(repeats: int) -> list[dict[str, Any]]:
    rng, rows = np.random.default_rng(0), []
    for shape, draw in NULLS.items():
        for size in SIZES:
            scores = [draw(rng, size) for _ in range(repeats)]
            shares = {name: round(float(np.mean([drop(r, s).mean() for s in scores])), 4) for name, r in RULES.items()}
            rows.append({"shape": shape, "size": size} | shares)
    return rows


def mixtures(repeats: int) -> list[dict[str, Any]]:
    rng, rows = np.random.default_rng(1), []
    for distance in DISTANCES:
        for share in SHARES:
            for size in SIZES[1:3]:
                unsafe = [rng.random(size) < share for _ in range(max(1, repeats // 5))]
                scores = [rng.normal(size=size) + distance * u for u in unsafe]
                f1 = {
                    name: round(float(np.mean([_f1(drop(rule, s), u) for s, u in zip(scores, unsafe)])), 3)
                    for name, rule in RULES.items()
                }
                rows.append({"distance": distance, "share": share, "size": size} | f1)
    return rows


def calibrated(repeats: int) -> list[dict[str, Any]]:
    rng, rows = np.random.default_rng(2), []
    cases = [(1000, probes, share, 0.05) for probes in (80, 150, 500) for share in (0.05, 0.3, 0.5)]
    for shape in ("normal", "lognormal", "discrete (Poisson 1)"):
        for size, probes, share, bound in [*cases, (120, 40, 0.425, 0.1)]:  # few examples: their shares move in steps
            within, recall = 0, []
            for _ in range(repeats):
                score = NULLS[shape](rng, size + probes)
                unsafe, probe = np.arange(len(score)) < size * share, np.arange(len(score)) >= size
                score[unsafe] = score[unsafe] * 1.5 + 3
                drop = conformal.decide(score, probe, bound, None).drop
                within += bool(drop[~unsafe & ~probe].mean() <= bound)
                recall.append(drop[unsafe].mean())
            found = {"within": within, "recall": round(float(np.mean(recall)), 3)}
            rows.append({"shape": shape, "size": size, "probes": probes, "share": share, "bound": bound} | found)
    return rows


def _f1(dropped: Any, unsafe: Any) -> float:
    return float(2 * (dropped & unsafe).sum() / max(1, dropped.sum() + unsafe.sum()))


if __name__ == "__main__":
    main()
