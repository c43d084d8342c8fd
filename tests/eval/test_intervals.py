import numpy as np
import pytest
from forgetfilter.eval import intervals
from forgetfilter.eval.intervals import difference, mean, measure, measure_mean, over_seeds, share_interval
from forgetfilter.eval.suites.bbq_scores import S_AMB, S_DIS, s_amb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SCORES = st.integers(1, 20).flatmap(lambda n: arrays(np.float64, (n, 1), elements=st.floats(-100, 100)))
PAIRS = st.integers(1, 12).flatmap(lambda n: arrays(np.float64, (2, 1, n, 3), elements=st.sampled_from([0.0, 1.0])))


def test_a_share_has_jeffreys_interval():
    # The ends are quantiles of Beta(x + 1/2, n - x + 1/2); for 5 of 10 R's qbeta(c(0.025, 0.975), 5.5, 5.5) gives
    # 0.2235 and 0.7765.
    metric = measure_mean([0.0, 1.0] * 5, "higher")
    assert (metric.value, metric.n, metric.missing) == (0.5, 10, 0)
    assert (metric.low, metric.high) == (pytest.approx(0.22352, abs=1e-4), pytest.approx(0.77648, abs=1e-4))


def test_prompts_that_agree_still_leave_a_doubt():
    # None harmful of 24 is not a certain 0, and all of 24 is the mirror of it.
    low, high = share_interval(0, 24)
    assert low == 0.0 and 0.08 < high < 0.11
    assert share_interval(24, 24) == (pytest.approx(1 - high), 1.0)


def test_interval_of_many_coins_is_the_normal_one():
    # For n = 400 and p = 0.5 the standard error is 0.5 / 20 = 0.025, so the interval is 0.5 -+ 1.96 * 0.025 = [0.451,
    # 0.549].
    metric = measure_mean([0.0, 1.0] * 200, "higher")
    assert (metric.low, metric.high) == (pytest.approx(0.451, abs=0.001), pytest.approx(0.549, abs=0.001))


def test_interval_of_skewed_scores_follows_the_skew():
    # With a long right tail the interval reaches farther above the mean than below it, and never beyond the range of
    # the scores.
    metric = measure_mean([0.01] * 30 + [0.9, 0.95, 1.0], "lower")
    assert metric.high - metric.value > 1.5 * (metric.value - metric.low) > 0
    assert metric.low >= 0.01 and metric.high <= 1.0


def test_same_input_same_interval_whatever_the_chunks(monkeypatch):
    # The seed is fixed, and drawing the resamples in pieces changes nothing.
    columns = np.arange(21.0).reshape(-1, 3)
    whole = measure(columns, s_amb, 0, "lower")
    monkeypatch.setattr(intervals, "CHUNK", 21)
    assert measure(columns, s_amb, 0, "lower") == whole


def test_missing_is_counted_and_never_averaged():
    # None counts neither as 0 nor as 1; where nothing was scored there is no value.
    metric = measure_mean([1.0, None, 0.5], "lower")
    assert (metric.value, metric.n, metric.missing) == (0.75, 2, 1)
    nothing = measure_mean([None, None], "lower")
    assert (nothing.value, nothing.low, nothing.high, nothing.n, nothing.missing) == (None, None, None, 0, 2)


@pytest.mark.parametrize("kind", ["share", "scores", "difference", "sparse bias", "seeds"])
def test_intervals_cover_the_true_value(kind):
    # In 400 cases of n = 100 the coverage is 95% within three standard errors of 400 cases (bench/coverage.py has 2,000
    # of many kinds).
    generator, covered = np.random.default_rng(7), 0
    for _ in range(400):
        if kind == "share":
            true = generator.uniform(0.05, 0.95)
            metric = measure((generator.random((100, 1)) < true).astype(float), mean, 0, "lower")
            low, high = metric.low, metric.high
        elif kind == "scores":
            true, metric = 1.0, measure(generator.exponential(size=(100, 1)), mean, 0, "lower")
            low, high = metric.low, metric.high
        elif kind == "difference":
            hard = generator.random((1, 100, 1))
            first, second = (hard + generator.random((1, 100, 1)) < level for level in (0.8, 1.0))
            true, (_, low, high) = 0.18, difference(first.astype(float), second.astype(float), mean)
        elif (
            kind == "sparse bias"
        ):  # 12% of the answers known; percentiles of the bootstrap hold the truth 86% of the time
            answer = generator.choice(3, size=100, p=(0.1, 0.02, 0.88))
            true, metric = 2 / 3, measure(np.stack([answer == 0, answer != 2], axis=1), S_DIS, 0, "zero")
            low, high = metric.low, metric.high
        else:
            true, spread = 0.0, 0.2 * generator.normal(size=(3, 1, 1))
            _, low, high = over_seeds(spread + generator.normal(size=(3, 100, 1)), mean)
        covered += low <= true <= high
    assert 0.917 <= covered / 400 <= 0.983


@given(SCORES, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_prompts_changes_no_digit(columns, random):
    # The interval depends only on the set of prompts.
    order = random.sample(range(len(columns)), len(columns))
    metric, shuffled = measure(columns, mean, 0, "lower"), measure(columns[order], mean, 0, "lower")
    assert metric == shuffled
    assert metric.low <= metric.value <= metric.high
    assert (columns.min() - 1e-9 <= metric.low and metric.high <= columns.max() + 1e-9) or set(columns.flat) <= {0, 1}


@given(PAIRS, st.sampled_from([mean, S_AMB, s_amb]))
@settings(max_examples=40, deadline=None)
def test_a_model_does_not_differ_from_itself_and_exchange_negates(pair, statistic):
    # difference(A, A) is 0 within its interval, and difference(B, A) mirrors difference(A, B) to the last digit.
    first, second = pair
    value, low, high = difference(first, first, statistic)
    assert value == 0 and low == -high and (high > 0) == (statistic is not s_amb)  # what is counted leaves a doubt
    value, low, high = difference(first, second, statistic)
    assert low <= value <= high
    assert difference(second, first, statistic) == (-value, -high, -low)


@given(st.integers(2, 4), st.integers(2, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_seeds_are_exchangeable_and_paired(num_seeds, n, seed):
    # The order of prompts and seeds changes only the rounding, exchange negates, and a model equals itself.
    first, second = np.random.default_rng(seed).random((2, num_seeds, n, 1))
    found = difference(first, second, mean)
    assert difference(first[::-1, ::-1], second[::-1, ::-1], mean) == pytest.approx(found)
    assert difference(second, first, mean) == (-found[0], -found[2], -found[1])
    assert difference(first, first, mean) == (0.0, 0.0, 0.0)


def test_the_difference_is_paired():
    # The prompts have very unequal difficulty and one model is 0.1 above the other on each, so the interval is narrow
    # around 0.1.
    hard = np.linspace(0, 1, 50).reshape(1, -1, 1)
    value, low, high = difference(hard, hard + 0.1, mean)
    assert (value, low, high) == pytest.approx((0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="same shape"):
        difference(hard, hard[:, :-1], mean)


def test_a_difference_of_shares_has_agresti_and_mins_interval():
    # By hand: of 24 prompts 3 are gained and 1 is lost: (3.5 - 1.5) / 26 -+ 1.96 sqrt((5 / 26 - (2 / 26)^2) / 26). If
    # none flipped, it is 1.96 sqrt(1 / 26 / 26) and not 0.
    first = np.array([0.0] * 3 + [1.0] + [0.0, 1.0] * 10).reshape(1, -1, 1)
    flipped = first.copy()
    flipped[0, :4] = 1 - flipped[0, :4]
    value, low, high = difference(first, flipped, mean)
    assert value == pytest.approx(2 / 24)
    assert (low, high) == pytest.approx((0.07692 - 0.16594, 0.07692 + 0.16594), abs=1e-4)
    assert difference(first, first, mean) == pytest.approx((0, -1.96 / 26, 1.96 / 26), abs=1e-4)


def test_bias_scores_of_a_model_that_hardly_ever_answers():
    # If 24 of 24 answers are unknown, s_AMB is 0 but not with certainty, and s_DIS says nothing at all. With one kind
    # the posterior is Jeffreys' share: of 10 known answers 3 are biased, 2 Beta(3.5, 7.5) - 1.
    unknown = np.array([[0.0, 0.0, 1.0]] * 24)
    one = measure(unknown, S_AMB, 0, "zero")
    assert one.value == 0 and -0.12 < one.low < -0.04 and 0.04 < one.high < 0.12
    nothing = measure(unknown[:, :2], S_DIS, 0, "zero")
    assert nothing.value == 0 and nothing.low < -0.9 and nothing.high > 0.9
    known = measure(np.array([[1.0, 1.0]] * 3 + [[0.0, 1.0]] * 7), S_DIS, 0, "zero")
    assert (known.low, known.high) == pytest.approx([2 * end - 1 for end in share_interval(3, 10)], abs=0.04)
    assert measure(np.array([[1.0, 1.0]] * 5), S_DIS, 0, "zero").high == 1.0


def test_seeds_and_prompts_each_have_their_own_t():
    # The interval equals a two-way analysis by hand of scores [3 seeds, 4 prompts]: mean squares of prompts, seeds and
    # rest, over 12 scores.
    scores = np.array([[0.1, 0.5, 0.3, 0.9], [0.3, 0.8, 0.4, 1.2], [0.2, 0.6, 0.1, 1.0]])
    whole, rows, columns = scores.mean(), scores.mean(axis=1), scores.mean(axis=0)
    prompts, seeds = 3 * np.square(columns - whole).sum() / 3 / 12, 4 * np.square(rows - whole).sum() / 2 / 12
    rest = np.square(scores - rows[:, None] - columns + whole).sum() / 6 / 12
    excess = seeds - rest
    half = (3.1824 * prompts + 4.3027 * excess) / np.sqrt(prompts + excess)
    assert over_seeds(scores[:, :, None], mean) == pytest.approx((whole, whole - half, whole + half), abs=1e-4)


def test_few_seeds_widen_the_interval():
    # Three seeds with 0.1, 0.2 and 0.3 on prompts that all agree give Student's t with 2 degrees of freedom: 0.2 -+
    # 4.303 * 0.1 / sqrt(3).
    columns = np.repeat(np.array([0.1, 0.2, 0.3]), 10).reshape(3, 10, 1)
    assert over_seeds(columns, mean) == pytest.approx((0.2, 0.2 - 0.2484, 0.2 + 0.2484), abs=1e-4)
