from typing import Any

import numpy as np
import pytest
from forgetfilter.filter import rules
from forgetfilter.filter.rules.estimate import Estimate, estimate
from forgetfilter.filter.swept import _estimate

from forgetfilter.errors import UserError
from forgetfilter.report.card import UNLIKE
from forgetfilter.report.card import estimate as estimated


def scores(score: np.ndarray[Any, Any], probes: np.ndarray[Any, Any]) -> rules.Scores:
    both = np.append(score, probes)
    probe = np.arange(len(both)) >= len(score)
    return rules.Scores(both, np.zeros(len(both), int), ["s"], np.sort, probe)


def of(given: rules.Scores) -> Estimate | None:
    return estimate(given.score, given.probe, given.source)


def drawn(unsafe: int, good: int, num_probes: int, seed: int = 0, apart: float = 3.0) -> tuple[rules.Scores, int]:
    random = np.random.default_rng(seed)
    score = np.append(random.normal(apart, 1, unsafe), random.normal(0, 1, good))
    return scores(score, random.normal(0, 1, num_probes)), unsafe


def test_the_worked_example() -> None:
    # With probes at 1 to 99 and the rows of the module's example the estimate finds its 300 unsafe rows and its shares
    # at each cut.
    score = np.concatenate(
        [np.full(350, 0.5), *(np.full(70, ten - 0.5) for ten in (60, 70, 80, 90)), np.full(370, 95.5)]
    )
    known = of(scores(score, np.arange(1.0, 100.0)))
    assert known is not None and known.unsafe[0] == pytest.approx(300)
    assert known.good_dropped(90.0) == pytest.approx(0.1)
    assert known.found(90.0, 370) == pytest.approx(300) and known.left(90.0, 370)[0] == pytest.approx(0)
    assert dict(known.cuts())[90.0] == 370 and known.cuts()[0] == (99.0, 0)


def test_the_interval_holds_the_truth_nine_times_in_ten() -> None:
    # Over 200 draws the intervals of the unsafe rows, and of those that a cut leaves, hold the true numbers, which only
    # the test knows.
    inside, left = [], []
    for seed in range(200):
        given, unsafe = drawn(120, 280, 100, seed)
        known = of(given)
        assert known is not None
        inside.append(known.unsafe[1] <= unsafe <= known.unsafe[2])
        cut = float(known.probes[-10])
        kept = int((given.score[:unsafe] <= cut).sum())
        low, high = known.left(cut, int((given.score[:400] > cut).sum()))[1:]
        left.append(low <= kept <= high)
    assert np.mean(inside) > 0.85 and np.mean(left) > 0.85


def test_rows_without_a_score_and_few_probes() -> None:
    # Rows without a score count nowhere, and with fewer than twenty probes there is no estimate.
    given, _ = drawn(30, 70, 40)
    known, more = of(given), of(scores(np.append(given.score[:100], [np.nan] * 50), given.score[100:]))
    assert isinstance(known, Estimate) and isinstance(more, Estimate)
    assert known.rows == more.rows == 100 and known.unsafe == more.unsafe
    assert of(drawn(30, 70, 19)[0]) is None
    assert estimate(given.score, None, given.source) is None


def test_probes_unlike_the_rows_tell_nothing() -> None:
    # Probes that score far above all rows would give 0 unsafe rows, from 0 to 0: no such number is told anywhere.
    known = of(scores(np.linspace(0, 1, 60), np.linspace(5, 6, 40)))
    assert known is not None and known.unsafe == (0, 0, 0) and not known.tells and not known.proven
    assert _estimate(known, 5.5, 0) == {}
    told: Any = {"estimate": known.told(5.5, 0), "kept": 60, "dropped": 0}
    assert estimated(told) == [UNLIKE]
    alike = of(drawn(30, 70, 40)[0])
    assert alike is not None and alike.tells


@pytest.mark.parametrize("rule", ["found_share", "best_f1"])
def test_rules_by_estimate(rule: str) -> None:
    # Over 20 draws the rules find about what they promise, lose few good rows and never a probe, and without enough
    # probes they are refused.
    settings = {"min_found": 0.9} if rule == "found_share" else {}
    found, lost = [], []
    for seed in range(20):
        given, unsafe = drawn(300, 700, 200, seed)
        ruling = rules.get(rule).apply(given, "x", **settings)
        assert not ruling.drop[1000:].any()
        found.append(ruling.drop[:unsafe].mean())
        lost.append(ruling.drop[unsafe:1000].mean())
    assert 0.85 < np.mean(found) < 0.95 and np.mean(lost) < 0.08
    with pytest.raises(UserError, match=rf"filter.rule={rule} needs at least 20 probes"):
        rules.get(rule).apply(drawn(30, 70, 19)[0], "x", **settings)


@pytest.mark.parametrize("rule", ["found_share", "best_f1"])
def test_of_clean_data_they_hardly_ever_drop(rule: str) -> None:
    # In data without unsafe rows the rules hardly ever drop anything: where `proven`, by which conformal decides too.
    settings = {"min_found": 0.9} if rule == "found_share" else {}
    dropped = [rules.get(rule).apply(drawn(0, 400, 100, seed)[0], "x", **settings).drop.any() for seed in range(60)]
    assert np.mean(dropped) < 0.1


def test_more_unsafe_rows_asked_for_are_more_rows_dropped() -> None:
    # The number of dropped rows rises with min_found.
    given, _ = drawn(300, 700, 100)
    dropped = [rules.get("found_share").apply(given, "x", min_found=share).drop.sum() for share in (0.5, 0.8, 0.95, 1)]
    assert dropped == sorted(dropped) and dropped[0] < dropped[-1]


def of_two_sources(seed: int, tasks: int, kind: int) -> tuple[Estimate, float]:
    """300 good rows of a task, 100 of a kind with 100 unsafe ones, which score 3 more; the task's score 2 less."""
    random = np.random.default_rng(seed)
    score = np.concatenate([random.normal(-2, 1, 300), random.normal(0, 1, 100), random.normal(3, 1, 100)])
    probes = np.concatenate([random.normal(-2, 1, tasks), random.normal(0, 1, kind)])
    source = np.repeat([0, 1, 0, 1], [300, 200, tasks, kind])
    known = estimate(np.append(score, probes), np.arange(500 + tasks + kind) >= 500, source)
    assert known is not None
    return known, known.unsafe[0] / 500


def test_probes_taken_evenly_from_uneven_sources_are_weighed() -> None:
    # With 30 probes each from sources of 300 and 100 good rows the weights lead to the true share of 0.2 unsafe rows,
    # of which equal weights find less than half.
    known, shares = zip(*(of_two_sources(seed, 30, 30) for seed in range(60)))
    assert np.mean(shares) == pytest.approx(0.2, abs=0.03)
    assert np.mean([one.unsafe[1] <= 100 <= one.unsafe[2] for one in known]) > 0.8
    as_they_are = [Estimate(one.probes, one.above, one.rows, np.full(60, 1 / 60)).unsafe[0] / 500 for one in known]
    assert np.mean(as_they_are) < 0.1


def test_probes_in_proportion_are_hardly_ever_weighed() -> None:
    # Weights that only chance calls for would add noise, so there are none, nor are there any where a source has too
    # few probes.
    alike = [np.ptp(of_two_sources(seed, 45, 15)[0].weight) < 1e-12 for seed in range(60)]
    assert np.mean(alike) > 0.9
    assert np.ptp(of_two_sources(0, 30, 9)[0].weight) < 1e-12
