"""Compares established intervals with those in use, on the hardest cases of bench/coverage.py.

    python bench/interval_rivals.py

For each interval it measures how often it holds the true value, and its mean width relative to the one in use. For the
mean of skewed scores and of skewed paired differences these are the studentised bootstrap, percentiles with widened
levels, BCa (Efron 1987), Hall's transformed t, plain and bootstrapped (Hall 1992), and Student's t. For several seeds
they are the one in use, Satterthwaite's degrees of freedom, Cochran and Cox's weighted quantiles with the whole
variance between seeds, and the Behrens-Fisher distribution. The result is bench/results/interval_rivals.json.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

CASES, RESAMPLES, TAIL = 2000, 2000, 0.025
Array = np.ndarray[Any, Any]
Ends = tuple[float, float]
SKEWED: dict[str, tuple[Callable[[np.random.Generator, int], Array], float]] = {
    "lognormal, sigma 1": (lambda g, n: g.lognormal(size=n), float(np.exp(0.5))),
    "paired skewed scores": (lambda g, n: g.exponential(1.0, n) - g.exponential(0.5, n), 0.5),
    "normal": (lambda g, n: g.normal(size=n), 0.0),
}


def mean_intervals(values: Array, counts: Array) -> dict[str, Ends]:
    n, mean, spread = len(values), float(values.mean()), float(values.std())
    centred = values - mean
    means, squares, cubes = (counts @ centred / n, counts @ centred**2 / n, counts @ centred**3 / n)
    spreads = np.sqrt(np.maximum(squares - means**2, 1e-300))
    t, skew = means / spreads, float((centred**3).mean()) / spread**3
    skews = (cubes - 3 * means * squares + 2 * means**3) / spreads**3
    level = norm.cdf(np.sqrt(n / (n - 1)) * student.ppf(TAIL, n - 1))
    bias = norm.ppf(np.clip((means < 0).mean(), 1e-4, 1 - 1e-4))
    ends = norm.ppf([level, 1 - level])
    adjusted = norm.cdf(bias + (bias + ends) / (1 - skew / 6 / np.sqrt(n) * (bias + ends)))
    hall = t + skews / 3 * t**2 + skews**2 / 27 * t**3 + skews / (6 * n)
    plain = student.ppf([1 - TAIL, TAIL], n - 1) / np.sqrt(n - 1)

    def back(y: Array) -> Array:
        return 3 / skew * (np.cbrt(1 + skew * (y - skew / (6 * n))) - 1)

    upper_lower = [1 - TAIL, TAIL]
    found = {
        "studentised bootstrap": mean - np.quantile(t, upper_lower) * spread,
        "percentiles, widened": mean + np.quantile(means, [level, 1 - level]),
        "BCa": mean + np.quantile(means, adjusted),
        "Hall, bootstrapped": mean - back(np.quantile(hall, upper_lower)) * spread,
        "Hall, Student": mean - back(plain) * spread,
        "Student": mean - plain * spread,
    }
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}


def seed_intervals(scores: Array, drawn: tuple[Array, Array]) -> dict[str, Ends]:
    """Of scores [seeds, prompts]; `drawn`: Student's t with the degrees of freedom of the prompts and of the seeds."""
    seeds, n = scores.shape
    mean, prompts = float(scores.mean()), float(scores.mean(axis=0).var(ddof=1)) / n
    between = float(scores.mean(axis=1).var(ddof=1)) / seeds
    rest = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + mean
    excess = max(between - float(np.square(rest).sum()) / (n - 1) / (seeds - 1) / n / seeds, 0.0)
    total, quantiles = prompts + between, student.ppf(1 - TAIL, [n - 1, seeds - 1])
    freedom = total**2 / (prompts**2 / (n - 1) + between**2 / (seeds - 1))
    sides = np.sqrt(prompts) * drawn[0] + np.sqrt(between) * drawn[1]
    halves = {
        "in use": (prompts * quantiles[0] + excess * quantiles[1]) / np.sqrt(prompts + excess),
        "Satterthwaite": float(student.ppf(1 - TAIL, freedom)) * np.sqrt(total),
        "Cochran and Cox": (prompts * quantiles[0] + between * quantiles[1]) / np.sqrt(total),
        "Behrens-Fisher": float(np.quantile(np.abs(sides), 1 - 2 * TAIL)),
    }
    return {name: (mean - half, mean + half) for name, half in halves.items()}


def rates(cases: list[dict[str, Ends]], true: float, used: str) -> dict[str, dict[str, float]]:
    """Coverage of each interval, and its mean width relative to the one in use."""
    width = {name: float(np.mean([case[name][1] - case[name][0] for case in cases])) for name in cases[0]}
    held = {name: float(np.mean([case[name][0] <= true <= case[name][1] for case in cases])) for name in cases[0]}
    return {name: {"coverage": held[name], "width": round(width[name] / width[used], 3)} for name in width}


def skewed(name: str, n: int) -> dict[str, dict[str, float]]:
    generator, (draw, true) = np.random.default_rng(1), SKEWED[name]
    drawn = generator.integers(n, size=(RESAMPLES, n))
    counts = np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(float)
    used = "percentiles, widened" if name.startswith("paired") else "studentised bootstrap"
    return rates([mean_intervals(draw(generator, n), counts) for _ in range(CASES)], true, used)


def several(seeds: int, spread: float, n: int) -> dict[str, dict[str, float]]:
    """Scores = prompt + seed + noise, as in bench/coverage.py."""
    generator, cases = np.random.default_rng(1), []
    drawn = generator.standard_t(n - 1, size=4000), generator.standard_t(seeds - 1, size=4000)
    for _ in range(CASES):
        common = generator.exponential(size=(1, n)) - 1 + spread * generator.normal(size=(seeds, 1))
        cases.append(seed_intervals(common + generator.normal(size=(seeds, n)) / 2, drawn))
    return rates(cases, 0.0, "in use")


def main() -> None:
    found = {f"{name}, n = {n}": skewed(name, n) for name in SKEWED for n in (24, 100)}
    kinds = ((3, 0.0), (3, 0.1), (3, 0.2), (3, 0.5), (3, 1.0), (5, 0.2))
    found |= {f"{seeds} seeds, spread {spread}, n = 100": several(seeds, spread, 100) for seeds, spread in kinds}
    for name, rates_ in found.items():
        print(name, rates_, flush=True)
    path = Path(__file__).parent / "results" / "interval_rivals.json"
    path.write_text(json.dumps({"cases": CASES, "intervals": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
