import itertools
from typing import Any

import numpy as np
import pytest
from forgetfilter.filter import rules
from forgetfilter.filter.rules import conformal, mixture, otsu, separation
from forgetfilter.filter.rules.base import p_values
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, betabinom
from sklearn.dummy import DummyRegressor
from sklearn.mixture import GaussianMixture

from forgetfilter.errors import UserError

SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "lognormal": lambda rng, n: rng.lognormal(0, 1, n),
    "heavy": lambda rng, n: rng.standard_t(2, n),
    "discrete": lambda rng, n: rng.poisson(2, n).astype(float),
}


@pytest.mark.parametrize("rule", [otsu, mixture])
def test_two_groups_are_parted(rule: Any) -> None:
    # The threshold lies between the groups and does not depend on the order or the unit of the scores.
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.normal(0, 1, 700), rng.normal(5, 1, 300)])
    threshold, found = rule.cut(score)
    assert 1.4 < threshold < 3.6 and found.startswith("two groups")
    assert rule is otsu or threshold == pytest.approx(3.3, abs=0.1)  # the worked example
    again, _ = rule.cut(rng.permutation(score) * 100 + 7)
    assert again == pytest.approx(threshold * 100 + 7, rel=1e-3)
    assert rule.cut(np.append(score, np.nan))[0] == threshold


@pytest.mark.parametrize("shape", list(SHAPES))
def test_one_group_is_left_whole(shape: str) -> None:
    # Without unsafe examples hardly any run drops anything, whatever the shape of the scores is; bench/rules.py has
    # more shapes.
    rng = np.random.default_rng(1)
    dropped = []
    for n in (100, 1000):
        for _ in range(4):
            score = SHAPES[shape](rng, n)
            threshold, found = mixture.cut(score)
            dropped.append(0.0 if threshold is None else (score > threshold).mean())
            assert threshold is not None or found.startswith("no separation found")
    assert np.mean(dropped) <= 0.02


@pytest.mark.parametrize(("few", "parted"), [(48, False), (200, True)])
def test_a_valley_alone_is_no_separation(few: int, parted: bool) -> None:
    # A far group of 1.2% of the scores makes a valley and is still too small to count as a group; one of 5% counts.
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.normal(size=4000 - few), rng.normal(8, 0.5, few)])
    assert separation.has_valley(np.sort(score))
    groups, found = separation.find_groups(score)
    assert (groups is not None) == parted and ("BIC gain" in found)


def by_scikit_learn(x: np.ndarray, cut: float, reg_covar: float) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations, ascending, of scikit-learn's mixture that begins with the same cut."""
    parts = [x[x <= cut], x[x > cut]]
    begun = {
        "means_init": [[part.mean()] for part in parts],
        "weights_init": [len(part) / len(x) for part in parts],
        "precisions_init": [[[1 / max(part.std(), separation.FLOOR * x.std()) ** 2]] for part in parts],
    }
    fitted = GaussianMixture(2, tol=1e-9, max_iter=2000, reg_covar=reg_covar, **begun).fit(x[:, None])
    order = np.argsort(fitted.means_[:, 0])
    return fitted.means_[order, 0], np.sqrt(fitted.covariances_[order, 0, 0])


def test_the_mixture_is_that_of_scikit_learn_but_for_the_floor() -> None:
    # Two wide groups: the same means and deviations. A group of nearly equal scores: ours stops at the floor, where
    # scikit-learn's shrinks; with reg_covar as large as the floor it stops too, but the wide group is fitted wider.
    rng = np.random.default_rng(0)
    wide = np.concatenate([rng.normal(0, 1, 350), rng.normal(5, 1, 150)])
    _, mean, deviation, _ = separation._expectation_maximisation(wide, 3.0)
    means, deviations = by_scikit_learn(wide, 3.0, 1e-9)
    assert mean == pytest.approx(means, abs=5e-3) and deviation == pytest.approx(deviations, abs=5e-3)
    tight = np.concatenate([rng.normal(0, 1, 450), 6 + 1e-4 * rng.normal(size=50)])
    floor = separation.FLOOR * tight.std()
    _, _, deviation, _ = separation._expectation_maximisation(tight, 4.0)
    assert deviation[1] == pytest.approx(floor) and by_scikit_learn(tight, 4.0, 1e-9)[1][1] < floor / 100
    held = by_scikit_learn(tight, 4.0, floor**2)[1]
    assert held[1] == pytest.approx(floor, rel=0.01)
    assert held[0] == pytest.approx(np.hypot(deviation[0], floor), rel=1e-3)


@pytest.mark.parametrize("score", [[], [1.0] * 50, [0.0, 1.0], [float("nan")] * 40])
def test_nothing_to_part(score: list[float]) -> None:
    # If the scores are too few, equal or absent, there is no threshold.
    assert otsu.cut(np.array(score))[0] is None


def test_p_values() -> None:
    # The p-value is (1 + probes as high) / (m + 1) for a score above, among and below all probes, and a row without a
    # score has none.
    p = p_values(np.array([9.0, 2.0, 0.0, np.nan]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert p[:3].tolist() == [1 / 5, 4 / 5, 1.0] and np.isnan(p[3])


@given(probes=st.lists(st.floats(-5, 5), min_size=20, max_size=60), score=st.lists(st.floats(-5, 5), min_size=1))
@settings(max_examples=25, deadline=None)
def test_p_values_fall_with_the_score(probes: list[float], score: list[float]) -> None:
    # A p-value lies between 1 / (m + 1) and 1 and never rises with the score.
    p = p_values(np.sort(score), np.array(probes))
    assert (np.diff(p) <= 0).all() and p.min() >= 1 / (len(probes) + 1) and p.max() <= 1


@given(probes=st.lists(st.integers(-3, 3), min_size=1), score=st.lists(st.integers(-4, 4), min_size=1))
@settings(max_examples=50, deadline=None)
def test_p_values_count_the_probes(probes: list[int], score: list[int]) -> None:
    # The same numbers come out where each probe is compared with each score by itself, ties among them.
    one_by_one = [(1 + sum(probe >= one for probe in probes)) / (len(probes) + 1) for one in score]
    assert p_values(np.array(score, float), np.array(probes, float)).tolist() == one_by_one


@pytest.mark.parametrize(("probes", "good", "bound"), [(6, 5, 0.2), (5, 8, 0.25), (4, 9, 0.5)])
def test_the_chance_of_the_bound_is_that_of_all_orders(probes: int, good: int, bound: float) -> None:
    # Good examples and probes fall in every order alike. As many of all orders as chance_within says leave at most that
    # share of the good examples above the k-th highest probe.
    orders = [*itertools.combinations(range(probes + good), probes)]  # the places of the probes, the highest first
    for rank in range(1, probes + 1):
        above = [places[rank - 1] - (rank - 1) for places in orders]  # good examples in higher places than that probe
        share = np.mean([count <= bound * good for count in above])
        (told,) = conformal.chance_within(rank, probes, np.array([good]), bound)
        assert told == pytest.approx(share)


def test_the_chance_is_that_of_scipy() -> None:
    # The sum over the probes is the beta-binomial distribution, and for many rows the beta distribution.
    good = np.array([1.0, 7.0, 150.0, 9_999.0, 10_000.0])
    for rank, probes, bound in ((1, 20, 0.1), (20, 20, 0.9), (7, 200, 0.05), (400, 900, 0.5)):
        told = betabinom.cdf(np.floor(bound * good), good, rank, probes + 1 - rank)
        assert conformal.chance_within(rank, probes, good, bound) == pytest.approx(told, abs=1e-9)
        large = conformal.chance_within(rank, probes, np.array([10.0**6]), bound).item()
        assert large == pytest.approx(beta.cdf(bound, rank, probes + 1 - rank), abs=1e-12)


def test_the_rank_of_the_probe() -> None:
    # With very many good examples the highest probe of m bounds 5% with 97.5% confidence once 0.95^m <= 0.025, which
    # needs m >= 72.
    assert conformal.probe_rank(71, 10**6, 0.05) == (0, 0.0)
    assert conformal.probe_rank(72, 10**6, 0.05) == (1, pytest.approx(1 - 0.95**72))
    assert conformal.probe_rank(500, 10**6, 0.05)[0] > 10


@given(probes=st.integers(20, 120), examples=st.integers(2, 300), bound=st.sampled_from([0.05, 0.07, 0.1, 0.15, 0.3]))
@settings(max_examples=40, deadline=None)
def test_the_bound_holds_however_many_are_good(probes: int, examples: int, bound: float) -> None:
    # For any number of good examples from half of all on, the chance that is told is the least of all and at least 95%,
    # and no further probe would do.
    rank, told = conformal.probe_rank(probes, examples, bound)
    good = np.arange(max(1, examples // 2), examples + 1).astype(float)
    here, further = (conformal.chance_within(k, probes, good, bound) for k in (max(1, rank), rank + 1))
    assert rank == 0 or (told == pytest.approx(here.min()) and told >= 0.95)
    assert rank == probes or further.min() < 0.95 or further[0] < 0.975  # and no further probe would do


def test_the_chance_is_that_of_drawing_probes_and_examples() -> None:
    # With 40 probes and 69 good examples, at most 6 of them exceed the highest probe in 96.4% of all draws, as a
    # simulation finds too.
    rng = np.random.default_rng(0)
    above = (rng.random((20_000, 69)) > rng.random((20_000, 40)).max(1)[:, None]).sum(1)
    assert np.mean(above <= 6) == pytest.approx(conformal.chance_within(1, 40, np.array([69.0]), 0.1).item(), abs=0.005)
    assert conformal.probe_rank(40, 120, 0.1) == (1, pytest.approx(0.964, abs=0.001))


def test_benjamini_hochberg() -> None:
    # The limit is that of the worked example, and neither NaN nor what is left out counts.
    p, all_of_them = np.array([0.9, 0.01, np.nan, 0.04]), np.ones(4, dtype=np.bool_)
    assert conformal.benjamini_hochberg(p, all_of_them, 0.1) == 0.04
    assert conformal.benjamini_hochberg(p, p != 0.04, 0.1) == 0.01
    assert conformal.benjamini_hochberg(p, all_of_them, 0.01) == -np.inf


@given(p=st.lists(st.integers(1, 21), min_size=1, max_size=40), rate=st.sampled_from([0.05, 0.1, 0.3]))
def test_benjamini_hochberg_is_the_step_up(p: list[int], rate: float) -> None:
    # The limit is the largest i-th p-value of n in order that is at most rate * i / n.
    ordered = sorted(value / 21 for value in p)
    rejected = [value for i, value in enumerate(ordered, 1) if value <= rate * i / len(ordered)]
    found = conformal.benjamini_hochberg(np.array(ordered), np.ones(len(ordered), dtype=np.bool_), rate)
    assert found == max(rejected, default=-np.inf)


def test_ties_with_the_probe_and_probes_themselves_are_kept() -> None:
    # A score equal to that of the threshold's probe is within the bound, and neither bound drops a probe.
    score, probe = np.array([*range(100), 98.0, 100.0]), np.arange(102) < 100
    found = conformal.decide(score, probe, 0.5, None)
    assert found.threshold == 98.0 and found.drop.tolist() == [False] * 101 + [True]
    assert found.p_value is not None and found.p_value[-2:].tolist() == [3 / 101, 1 / 101]
    assert not conformal.decide(score, probe, 0.5, 0.9).drop[:100].any()


def test_the_bound_holds() -> None:
    # In at least 95 of 100 mixtures at most 5% of the good examples are dropped, and unsafe ones are found.
    rng, within, found = np.random.default_rng(2), 0, []
    for _ in range(100):
        good, bad, probes = rng.lognormal(size=350), rng.lognormal(2, 1, 150), rng.lognormal(size=150)
        score = np.concatenate([good, bad, probes])
        probe = np.arange(len(score)) >= 500
        ruling = conformal.decide(score, probe, 0.05, None)
        within += ruling.drop[:350].mean() <= 0.05
        found.append(ruling.drop[350:500].mean())
        assert not ruling.drop[500:].any() and ruling.threshold is not None
    assert within >= 95 and np.mean(found) > 0.3


@given(probes=st.integers(1, 7), good=st.integers(1, 5), bound=st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.5]))
@settings(max_examples=25, deadline=None)
def test_the_bound_on_average_is_that_of_all_orders(probes: int, good: int, bound: float) -> None:
    # Over all orders of probes and good examples the mean share above the cut's probe is k / (m + 1), which is within
    # the bound; of one probe further it is not.
    orders = [*itertools.combinations(range(probes + good), probes)]  # the places of the probes, the highest first
    rank = conformal.average_rank(probes, bound)
    for k in (rank, rank + 1):
        if 1 <= k <= probes:
            mean = np.mean([places[k - 1] - (k - 1) for places in orders]) / good
            assert mean == pytest.approx(k / (probes + 1)) and (mean <= bound + 1e-9) == (k == rank)
    assert conformal.average_rank(80, 0.1) == 8 and conformal.average_rank(8, 0.1) == 0  # the worked example


@pytest.mark.parametrize("probes", [20, 35, 80, 99, 300])
@pytest.mark.parametrize("bound", [0.05, 0.1, 0.33])
def test_the_cut_on_average_is_that_of_mapie(probes: int, bound: float) -> None:
    # MAPIE's split conformal interval around 0 has the same score as its end, so both find the same rows beyond it.
    regression = pytest.importorskip("mapie.regression")
    score = np.random.default_rng(probes).exponential(size=probes)
    nothing = np.zeros((probes, 1))
    zero = DummyRegressor(strategy="constant", constant=0.0).fit(nothing, score)
    mapie = regression.SplitConformalRegressor(zero, confidence_level=1 - bound, prefit=True)
    _, interval = mapie.conformalize(nothing, score).predict_interval(nothing[:1])
    assert np.sort(score)[-conformal.average_rank(probes, bound)] == pytest.approx(interval[0, 1, 0], rel=1e-12)


def mixed(rng: np.random.Generator, unsafe: int) -> rules.Scores:
    """350 good examples, some unsafe ones and 100 probes."""
    score = np.concatenate([rng.lognormal(size=350), rng.lognormal(2, 0.6, unsafe), rng.lognormal(size=100)])
    source = np.zeros(len(score), dtype=np.int64)
    return rules.Scores(score, source, ["web"], lambda rows: rows, np.arange(len(score)) >= 350 + unsafe)


def test_the_cut_is_bolder_where_there_are_unsafe_rows() -> None:
    # By auto at most a tenth of the good examples is dropped in 95 of 100 clean data sets. Where 150 of 500 are
    # unsafe, it is a tenth at most on average, and more of them are found than with 97.5% confidence.
    rng, beyond, lost, left = np.random.default_rng(4), 0, [], []
    for _ in range(100):
        clean = conformal.apply(mixed(rng, 0), "", 0.1, None, "auto")
        beyond += clean.drop.sum() > 35
        scores = mixed(rng, 150)
        bold, sure = (conformal.apply(scores, "", 0.1, None, how) for how in ("auto", 0.975))
        assert bold.note == "100 probes; at most 10% of good examples dropped (on average)"
        assert bold.drop.tolist() == conformal.apply(scores, "", 0.1, None, "average").drop.tolist()
        lost.append(bold.drop[:350].mean())
        left.append([(~ruling.drop[350:500]).mean() for ruling in (bold, sure)])
    assert beyond <= 5 and np.mean(lost) <= 0.1
    assert np.mean(left, axis=0).tolist() == pytest.approx([0.144, 0.379], abs=0.001)


def test_false_discoveries() -> None:
    # On average at most a tenth of the dropped rows is good.
    rng, false = np.random.default_rng(3), []
    for _ in range(50):
        score = np.concatenate([rng.normal(size=350), rng.normal(4, 1, 150), rng.normal(size=300)])
        drop = conformal.decide(score, np.arange(800) >= 500, 0.05, 0.1).drop
        false.append(drop[:350].sum() / max(1, drop.sum()))
    assert np.mean(false) <= 0.1


def test_too_few_probes() -> None:
    # Fewer than 20 probes are refused; with fewer than the bound needs nothing is dropped, and the note says so.
    score, probe = np.arange(100.0), np.arange(100) < 19
    with pytest.raises(UserError, match="needs at least 20 probes with a score, there are 19"):
        conformal.decide(score, probe, 0.05, None)
    ruling = conformal.decide(score, np.arange(100) < 20, 0.05, None)
    assert not ruling.drop.any() and ruling.note.startswith("20 probes are too few for filter.max_false_drop=0.05")
    assert ruling.note.endswith("have more probes, or allow more, or set filter.confidence=average")
