"""Measures how often the 95% intervals of eval/intervals.py hold the true value, in 2,000 simulated cases of each kind.

    python bench/coverage.py [--seed 2]

The percentile bootstrap, which most evaluation code uses, is measured on the same cases. The result is
bench/results/coverage.json. A calibrated interval gives 0.940 to 0.960 in 19 of 20 rows (two standard errors).
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from forgetfilter.eval import intervals
from forgetfilter.eval.intervals import Counted, Statistic, difference, mean, measure, over_seeds
from forgetfilter.eval.suites.bbq_scores import S_AMB, S_DIS

CASES = 2000
Array = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, int], tuple[Array, float]]  # n -> columns [n, K], the true value
Paired = Callable[
    [np.random.Generator, int], tuple[Array, Array, float]
]  # n -> both columns [n, K], the true difference

# Of an ambiguous BBQ item: biased, against the stereotype, unknown. The true values follow from the formulas.
ANSWERS, CAREFUL, MORE_CAREFUL = (0.3, 0.15, 0.55), (0.1, 0.02, 0.88), (0.03, 0.02, 0.95)


def share(p: float | None) -> Draw:
    def draw(generator: np.random.Generator, n: int) -> tuple[Array, float]:
        true = generator.uniform(0.05, 0.95) if p is None else p
        return (generator.random((n, 1)) < true).astype(float), true

    return draw


def items(answers: Array) -> Array:
    """Columns of ambiguous items: biased, known, right."""
    return np.stack([answers == 0, answers != 2, answers == 2], axis=1).astype(float)


def true_bias(answers: Sequence[float], statistic: Statistic) -> float:
    return float(statistic(np.array([answers[0], answers[0] + answers[1], answers[2]]), 1))


def bbq(answers: Sequence[float], statistic: Counted) -> Draw:
    width = len(statistic.kinds[0])
    return lambda g, n: (items(g.choice(3, size=n, p=answers))[:, :width], true_bias(answers, statistic))


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
    "s_DIS": (bbq(ANSWERS, S_DIS), S_DIS),
    "s_AMB": (bbq(ANSWERS, S_AMB), S_AMB),
    "s_DIS, 12% known": (bbq(CAREFUL, S_DIS), S_DIS),
    "s_AMB, 12% known": (bbq(CAREFUL, S_AMB), S_AMB),
}


def paired_shares(generator: np.random.Generator, n: int) -> tuple[Array, Array, float]:
    """Two models that share what makes a prompt hard: right on both 50%, first only 10%, second only 20%."""
    kind = generator.choice(4, size=n, p=(0.5, 0.1, 0.2, 0.2))
    return (kind < 2).astype(float)[:, None], np.isin(kind, (0, 2)).astype(float)[:, None], 0.1


def paired_scores(generator: np.random.Generator, n: int) -> tuple[Array, Array, float]:
    """A skewed prompt effect in both, an independent skewed part in each."""
    common = generator.exponential(size=(n, 1))
    return common + generator.exponential(0.5, (n, 1)), common + generator.exponential(1.0, (n, 1)), 0.5


def flips(lost: float, gained: float) -> Paired:
    """Two models that differ on such shares of the prompts, one way and the other."""

    def draw(generator: np.random.Generator, n: int) -> tuple[Array, Array, float]:
        kind = generator.choice(3, size=n, p=(1 - lost - gained, lost, gained))
        return (kind == 1).astype(float)[:, None], (kind == 2).astype(float)[:, None], gained - lost

    return draw


def paired_bias(generator: np.random.Generator, n: int) -> tuple[Array, Array, float]:
    """Two models of which 12% and 8% of the answers are known; on half of the prompts they answer alike."""
    first, second = (generator.choice(3, size=n, p=answers) for answers in (CAREFUL, MORE_CAREFUL))
    second = np.where(generator.random(n) < 0.5, first, second)
    mixed = [(a + b) / 2 for a, b in zip(CAREFUL, MORE_CAREFUL)]
    return items(first), items(second), true_bias(mixed, S_AMB) - true_bias(CAREFUL, S_AMB)


PAIRED: dict[str, tuple[Paired, Statistic]] = {
    "paired shares": (paired_shares, mean),
    "paired shares, 3% each way": (flips(0.03, 0.03), mean),
    "paired shares, 3% one way": (flips(0.0, 0.03), mean),
    "paired shares, 5% and 15%": (flips(0.05, 0.15), mean),
    "paired s_AMB, 12% and 8% known": (paired_bias, S_AMB),
    "paired skewed scores": (paired_scores, mean),
}


def percentile(columns: Array, statistic: Statistic) -> tuple[float, float]:
    values = statistic(intervals._resampled_sums(columns), len(columns))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def covers(low: float | None, high: float | None, true: float) -> bool:
    assert low is not None and high is not None
    return low - 1e-12 <= true <= high + 1e-12


def one(draw: Draw, statistic: Statistic, n: int, seed: int) -> tuple[float, float]:
    generator, ours, plain = np.random.default_rng(seed), 0, 0
    for _ in range(CASES):
        columns, true = draw(generator, n)
        metric = measure(columns, statistic, 0, "lower")
        ours += covers(metric.low, metric.high, true)
        plain += covers(*percentile(columns, statistic), true)
    return ours / CASES, plain / CASES


def paired(draw: Paired, statistic: Statistic, n: int, seed: int) -> tuple[float, float]:
    generator, ours, plain = np.random.default_rng(seed), 0, 0
    for _ in range(CASES):
        first, second, true = draw(generator, n)
        ours += covers(*difference(first[None], second[None], statistic)[1:], true)
        resampled = intervals._resampled_sums(np.concatenate([first, second], axis=1))
        before, after = (statistic(sums, n) for sums in np.split(resampled, 2, axis=1))
        plain += covers(*map(float, np.percentile(after - before, [2.5, 97.5])), true)
    return ours / CASES, plain / CASES


def seeds(n: int, num_seeds: int, between: float, seed: int) -> tuple[float, float]:
    """Scores = prompt + seed + noise; the plain one resamples seeds, then prompts, and takes percentiles."""
    generator, ours, plain = np.random.default_rng(seed), 0, 0
    for _ in range(CASES):
        prompt, of_seed = generator.exponential(size=(1, n, 1)) - 1, between * generator.normal(size=(num_seeds, 1, 1))
        columns = prompt + of_seed + generator.normal(size=(num_seeds, n, 1)) / 2
        ours += covers(*over_seeds(columns, mean)[1:], 0.0)
        sums = np.stack([intervals._resampled_sums(of_one)[:, 0] / n for of_one in columns], axis=1)
        drawn = generator.integers(num_seeds, size=sums.shape)
        low, high = np.percentile(np.take_along_axis(sums, drawn, axis=1).mean(axis=1), [2.5, 97.5])
        plain += covers(float(low), float(high), 0.0)
    return ours / CASES, plain / CASES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=2, help="of the simulated cases")
    seed = parser.parse_args().seed
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for n in (24, 100):
        rows = {name: one(draw, statistic, n, seed) for name, (draw, statistic) in ONE.items()}
        rows |= {name: paired(draw, statistic, n, seed) for name, (draw, statistic) in PAIRED.items()}
        kinds = ((3, 0.0), (3, 0.2), (3, 0.5), (5, 0.2))
        rows |= {f"{count} seeds, spread {spread}": seeds(n, count, spread, seed) for count, spread in kinds}
        found[f"n = {n}"] = rows
        for name, (ours, plain) in rows.items():
            print(f"| {name} | {n} | {ours:.3f} | {plain:.3f} |", flush=True)
    path = Path(__file__).parent / "results" / "coverage.json"
    result = {"cases": CASES, "seed": seed, "coverage": found, "columns": ["interval", "percentile bootstrap"]}
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
