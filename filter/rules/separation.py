"""Whether scores fall into two groups: a mixture of two normal distributions, and a test that it is no accident.

The scores are first made as normal as a monotone function can make them (Yeo and Johnson, Biometrika 2000), so that one
skewed group is not taken for two. Then two components must beat one by the Bayesian information criterion (Schwarz
1978; 10 is "very strong", Kass and Raftery 1995), lie apart by Ashman's D = sqrt(2) |m1 - m2| / sqrt(s1^2 + s2^2) > 2
(Ashman, Bird and Zepf 1994) and hold 2% of the scores each. Last, the scores themselves must have a valley: a bin that
holds less than 0.85 of a bin of equal width on either side of it, by more than 4 standard errors.

scikit-learn's GaussianMixture fits the same two normal distributions, but it has no floor for a component's deviation:
it adds reg_covar to every variance instead. Without that a component shrinks to a tie, and with as much as the floor
the other one grows by it too (tests/filter/test_calibrated.py shows both), which moves the threshold: so the fit is our
own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

POINTS = 4096  # scores that are used, evenly by rank; more would only show finer misfits
FITTED = 512  # of these, to which the mixture is fitted
FEWEST = 30  # scores; of fewer nothing can be said
LEAST_BIC, LEAST_D, LEAST_SHARE = 10.0, 2.0, 0.02
VALLEY, ERRORS, BINS = 0.85, 4.0, (6, 9, 13, 19, 28)  # the bins span all but 1% of the points
STEPS, TOLERANCE = 200, 1e-7
FLOOR = 0.05  # smallest standard deviation of a component, as a share of all scores': none may shrink to a tie


@dataclass(frozen=True, eq=False)
class Groups:
    """Two groups of scores, on a scale on which each is about normal."""

    power: float
    """Yeo and Johnson's lambda."""
    middle: float
    """Of the scores, taken off first."""
    width: float
    """Of the scores, divided by after that."""
    mean: Array
    """[2] ascending, on the scale."""
    deviation: Array
    """[2]"""
    weight: Array
    """[2] shares, sum 1."""
    points: Array
    """The scores on the scale, sorted, POINTS at most."""
    distance: float
    """Ashman's D."""
    gain: float
    """By how much two components beat one, BIC."""

    def score_at(self, place: float) -> float:
        """The score at a place of the scale."""
        return self.middle + self.width * float(_inverse(place, self.power))


def find_groups(score: Array) -> tuple[Groups | None, str]:
    """(groups, what was found) of the scores that are no NaN; no groups where the test fails."""
    from scipy.stats import yeojohnson  # takes a second to import, which no check of a config needs

    known = np.sort(score[~np.isnan(score)])
    if len(known) < FEWEST or known[0] == known[-1]:
        return None, f"no separation found: {len(known)} scores, too few or all equal"
    points = _untied(known)
    points = points[np.linspace(0, len(points) - 1, min(POINTS, len(points))).round().astype(int)]
    low, middle, high = np.quantile(points, [0.25, 0.5, 0.75])
    width = float(high - low) or float(points.std())
    placed, power = yeojohnson((points - middle) / width)
    if not has_valley(np.sort(placed)):
        return None, "no separation found: nothing dropped (one heap of scores, no valley)"
    groups = _fit(np.sort(placed), float(power), float(middle), width)
    said = f"BIC gain {groups.gain:.0f}, Ashman's D {groups.distance:.2f}, upper share {groups.weight[1]:.2f}"
    lasting = groups.gain > LEAST_BIC and groups.distance > LEAST_D and groups.weight.min() >= LEAST_SHARE
    if not lasting:
        return None, f"no separation found: nothing dropped ({said})"
    return groups, f"two groups ({said})"


def _untied(known: Array) -> Array:
    """Sorted scores with ties spread evenly to half way to their neighbours: a step must not look like a group."""
    values, start, count = np.unique(known, return_index=True, return_counts=True)
    if len(values) == len(known):
        return known
    edges = (values[1:] + values[:-1]) / 2
    low = np.concatenate([[2 * values[0] - edges[0]], edges])
    high = np.concatenate([edges, [2 * values[-1] - edges[-1]]])
    place = (np.arange(len(known)) - np.repeat(start, count) + 0.5) / np.repeat(count, count)
    spread: Array = np.repeat(low, count) + place * np.repeat(high - low, count)
    return spread


def _fit(x: Array, power: float, middle: float, width: float) -> Groups:
    """The most likely of several fits by expectation maximisation, each begun with a cut at another quantile."""
    thin = x[np.linspace(0, len(x) - 1, min(FITTED, len(x))).round().astype(int)]
    fits = [_expectation_maximisation(thin, float(cut)) for cut in np.quantile(thin, [0.3, 0.5, 0.7, 0.85, 0.95])]
    likelihood, mean, deviation, weight = max(fits, key=lambda fit: fit[0])
    one = float(np.log(_normal(thin, thin.mean(), thin.std())).sum())
    gain = 2 * (likelihood - one) - 3 * np.log(len(thin))  # 5 parameters in the place of 2
    distance = np.sqrt(2) * (mean[1] - mean[0]) / np.sqrt((deviation**2).sum())
    return Groups(power, middle, width, mean, deviation, weight, x, float(distance), float(gain))


def _expectation_maximisation(x: Array, cut: float) -> tuple[float, Array, Array, Array]:
    """(log likelihood, means [2] ascending, standard deviations [2], weights [2])."""
    upper = (x > cut).astype(np.float64)
    floor, before = FLOOR * x.std(), -np.inf
    for _ in range(STEPS):
        share = np.stack([1 - upper, upper])
        total = np.maximum(share.sum(1), 1e-9)
        mean = share @ x / total
        deviation = np.sqrt(np.maximum((share * (x - mean[:, None]) ** 2).sum(1) / total, floor**2))
        weight = total / total.sum()
        density = weight[:, None] * _normal(x, mean[:, None], deviation[:, None])
        upper = density[1] / density.sum(0)
        likelihood = float(np.log(density.sum(0)).sum())
        if likelihood - before < TOLERANCE * abs(likelihood):
            break
        before = likelihood
    order = np.argsort(mean)
    return likelihood, mean[order], deviation[order], weight[order]


def _normal(x: Array, mean: Array | float, deviation: Array | float) -> Array:
    """The density of a normal distribution; never 0, so that its logarithm can be taken."""
    density: Array = np.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
    return density + 1e-300


def has_valley(points: Array) -> bool:
    """Whether sorted points [n] have a gap between two groups, with any number of BINS.

    With one group no bin is expected to hold less than bins on both sides of it, whatever the shape.
    """
    low, high = np.quantile(points, [0.005, 0.995])
    for bins in BINS:
        count, _ = np.histogram(points, bins, (low, high))
        left, right = np.maximum.accumulate(count), np.maximum.accumulate(count[::-1])[::-1]
        lower = np.minimum(left, right)  # the lower of the highest bins on either side
        deep = (count < VALLEY * lower) & (lower - count > ERRORS * np.sqrt(lower + count))
        if deep.any():
            return True
    return False


def crossing(groups: Groups) -> float:
    """The score between the means above which the upper group is the likelier one."""
    grid = np.linspace(groups.mean[0], groups.mean[1], 2001)
    density = groups.weight * _normal(grid[:, None], groups.mean, groups.deviation)
    return groups.score_at(float(grid[np.argmax(density[:, 1] > density[:, 0])]))


def _inverse(y: float, power: float) -> float:
    """The inverse of Yeo and Johnson's function: two Box-Cox functions, one on each side of 0."""
    from scipy.special import inv_boxcox

    return float(inv_boxcox(y, power) - 1) if y >= 0 else float(1 - inv_boxcox(-y, 2 - power))
