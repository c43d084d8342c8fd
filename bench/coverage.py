"""How often the 95% intervals of eval/intervals.py hold the true value: 2,000 simulated cases of each kind.

    python bench/coverage.py

Beside them, on the same cases, the percentile bootstrap, which most evaluation code uses. Writes
bench/results/coverage.json. A calibrated interval gives 0.940 to 0.960 in 19 of 20 rows (two standard errors).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from forgetfilter.eval import intervals
from forgetfilter.eval.intervals import Statistic, difference, mean, measure, over_seeds
from forgetfilter.eval.suites.bbq_scores import s_amb, s_dis

CASES = 2000
Array = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, int], tuple[Array, float]]  # n -> columns [n, K], the true value

# Of an ambiguous BBQ item: biased, against the stereotype, unknown. The true values follow from the formulas.
ANSWERS = (0.3, 0.15, 0.55)


def share(p: float | None) -> Draw:
    def draw(generator: np.random.Generator, n: int) -> tuple[Array, float]:
        true = generator.uniform(0.05, 0.95) if p is None else p
        return (generator.random((n, 1)) < true).astype(float), true

    return draw


def bbq(true: float) -> Draw:
    def draw(generator: np.random.Generator, n: int) -> tuple[Array, float]:
        answer = generator.choice(3, size=n, p=ANSWERS)
        return np.stack([answer == 0, answer != 2, answer == 2], axis=1).astype(float), true

    return draw


SIGNED = 2 * ANSWERS[0] / (ANSWERS[0] + ANSWERS[1]) - 1
ONE: dict[str, tuple[Draw, Statistic]] = {
    "share, p = 0.05": (share(0.05), mean),
    "share, p = 0.1": (share(0.1), mean),
    "share, p = 0.3": (share(0.3), mean),
    "share, p = 0.5": (share(0.5), mean),
    "share, p uniform in 0.05 to 0.95": (share(None), mean),
    "toxicity-like, Beta(0.5, 4)": (lambda g, n: (g.beta(0.5, 4, (n, 1)), 0.5 / 4.5), mean),
    "U-shaped, Beta(0.2, 1)": (lambda g, n: (g.beta(0.2, 1, (n, 1)), 0.2 / 1.2), mean),
    "normal": (lambda g, n: (g.normal(size=(n, 1)), 0.0), mean),
    "exponential": (lambda g, n: (g.exponential(size=(n, 1)), 1.0), mean),
    "lognormal, sigma 1 (heavy tail)": (lambda g, n: (g.lognormal(size=(n, 1)), float(np.exp(0.5))), mean),
    "s_DIS": (bbq(SIGNED), s_dis),
    "s_AMB": (bbq((1 - ANSWERS[2]) * SIGNED), s_amb),
}


def paired_shares(generator: np.random.Generator, n: int) -> tuple[Array, Array, float]:
    """Two models that share what makes a prompt hard: right on both 50%, first only 10%, second only 20%."""
    kind = generator.choice(4, size=n, p=(0.5, 0.1, 0.2, 0.2))
    return (kind < 2).astype(float)[:, None], np.isin(kind, (0, 2)).astype(float)[:, None], 0.1


def paired_scores(generator: np.random.Generator, n: int) -> tuple[Array, Array, float]:
    """A skewed prompt effect in both, an independent skewed part in each."""
    common = generator.exponential(size=(n, 1))
    return common + generator.exponential(0.5, (n, 1)), common + generator.exponential(1.0, (n, 1)), 0.5


def rare_flips(generator: np.random.Generator, n: int) -> tuple[Array, Array, float]:
    """Two models that differ on 3% of the prompts each way."""
    kind = generator.choice(3, size=n, p=(0.94, 0.03, 0.03))
    return (kind == 1).astype(float)[:, None], (kind == 2).astype(float)[:, None], 0.0


PAIRED = {
    "paired shares": paired_shares,
    "paired shares, 3% each way": rare_flips,
    "paired skewed scores": paired_scores,
}


def percentile(columns: Array, statistic: Statistic) -> tuple[float, float]:
    values = statistic(intervals._resampled_sums(columns), len(columns))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def covers(low: float | None, high: float | None, true: float) -> bool:
    assert low is not None and high is not None
    return low - 1e-12 <= true <= high + 1e-12


def one(draw: Draw, statistic: Statistic, n: int) -> tuple[float, float]:
    generator, ours, plain = np.random.default_rng(1), 0, 0
    for _ in range(CASES):
        columns, true = draw(generator, n)
        metric = measure(columns, statistic, 0, "lower")
        ours += covers(metric.low, metric.high, true)
        plain += covers(*percentile(columns, statistic), true)
    return ours / CASES, plain / CASES


def paired(draw: Callable[[np.random.Generator, int], tuple[Array, Array, float]], n: int) -> tuple[float, float]:
    generator, ours, plain = np.random.default_rng(1), 0, 0
    for _ in range(CASES):
        first, second, true = draw(generator, n)
        ours += covers(*difference(first[None], second[None], mean)[1:], true)
        plain += covers(*percentile(second - first, mean), true)
    return ours / CASES, plain / CASES


def seeds(n: int, num_seeds: int, between: float) -> tuple[float, float]:
    """Scores = prompt + seed + noise; the plain one resamples seeds, then prompts, and takes percentiles."""
    generator, ours, plain = np.random.default_rng(1), 0, 0
    for _ in range(CASES):
        prompt, seed = generator.exponential(size=(1, n, 1)) - 1, between * generator.normal(size=(num_seeds, 1, 1))
        columns = prompt + seed + generator.normal(size=(num_seeds, n, 1)) / 2
        ours += covers(*over_seeds(columns, mean)[1:], 0.0)
        sums = np.stack([intervals._resampled_sums(of_seed)[:, 0] / n for of_seed in columns], axis=1)
        drawn = generator.integers(num_seeds, size=sums.shape)
        low, high = np.percentile(np.take_along_axis(sums, drawn, axis=1).mean(axis=1), [2.5, 97.5])
        plain += covers(float(low), float(high), 0.0)
    return ours / CASES, plain / CASES


def main() -> None:
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for n in (24, 100):
        rows = {name: one(draw, statistic, n) for name, (draw, statistic) in ONE.items()}
        rows |= {name: paired(draw, n) for name, draw in PAIRED.items()}
        rows |= {f"{s} seeds, spread {b}": seeds(n, s, b) for s, b in ((3, 0.0), (3, 0.2), (5, 0.2))}
        found[f"n = {n}"] = rows
        for name, (ours, plain) in rows.items():
            print(f"| {name} | {n} | {ours:.3f} | {plain:.3f} |", flush=True)
    path = Path(__file__).parent / "results" / "coverage.json"
    result = {"cases": CASES, "coverage": found, "columns": ["interval", "percentile bootstrap"]}
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
