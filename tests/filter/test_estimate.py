from typing import Any

import numpy as np
import pytest
from forgetfilter.filter import rules
from forgetfilter.filter.rules.estimate import Estimate, estimate

from forgetfilter.errors import UserError


def scores(score: np.ndarray[Any, Any], probes: np.ndarray[Any, Any]) -> rules.Scores:
    both = np.append(score, probes)
    probe = np.arange(len(both)) >= len(score)
    return rules.Scores(both, np.zeros(len(both), int), ["s"], np.sort, probe)


def of(given: rules.Scores) -> Estimate | None:
    return estimate(given.score, given.probe)


def drawn(unsafe: int, good: int, num_probes: int, seed: int = 0, apart: float = 3.0) -> tuple[rules.Scores, int]:
    random = np.random.default_rng(seed)
    score = np.append(random.normal(apart, 1, unsafe), random.normal(0, 1, good))
    return scores(score, random.normal(0, 1, num_probes)), unsafe


def test_the_worked_example() -> None:
    # probes at 1 to 99; 490 rows up to the 70th, 340 above the 90th, which is the 10th highest
    score = np.concatenate([np.full(490, 0.5), np.full(170, 75.5), np.full(340, 95.5)])
    known = of(scores(score, np.arange(1.0, 100.0)))
    assert known is not None and known.unsafe[0] == pytest.approx(300)
    assert known.good_dropped(90.0) == pytest.approx(0.1)
    assert known.found(90.0, 340) == pytest.approx(270) and known.left(90.0, 340)[0] == pytest.approx(30)
    assert dict(known.cuts())[90.0] == 340 and known.cuts()[0] == (99.0, 0)


def test_the_interval_holds_the_truth_nine_times_in_ten() -> None:
    # 200 draws: unsafe rows, and those that a cut leaves, known only to the test
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
    # the first count nowhere; of fewer than twenty probes nothing is said
    given, _ = drawn(30, 70, 40)
    known, more = of(given), of(scores(np.append(given.score[:100], [np.nan] * 50), given.score[100:]))
    assert isinstance(known, Estimate) and isinstance(more, Estimate)
    assert known.rows == more.rows == 100 and known.unsafe == more.unsafe
    assert of(drawn(30, 70, 19)[0]) is None
    assert estimate(given.score, None) is None


@pytest.mark.parametrize("rule", ["found_share", "best_f1"])
def test_rules_by_estimate(rule: str) -> None:
    # over 20 draws they find about what they say, lose few good rows and never a probe; without probes they cannot
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
    # what cannot be told from none is not looked for
    settings = {"min_found": 0.9} if rule == "found_share" else {}
    dropped = [rules.get(rule).apply(drawn(0, 400, 100, seed)[0], "x", **settings).drop.any() for seed in range(60)]
    assert np.mean(dropped) < 0.15


def test_more_unsafe_rows_asked_for_are_more_rows_dropped() -> None:
    # the cut falls with min_found
    given, _ = drawn(300, 700, 100)
    dropped = [rules.get("found_share").apply(given, "x", min_found=share).drop.sum() for share in (0.5, 0.8, 0.95, 1)]
    assert dropped == sorted(dropped) and dropped[0] < dropped[-1]
