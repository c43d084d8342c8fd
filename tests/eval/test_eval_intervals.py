import numpy as np
import pytest
from forgetfilter.eval import intervals
from forgetfilter.eval.intervals import mean, measure, measure_mean


def test_interval_of_four_coins():
    # 0,0,1,1: a resample is all 0 with probability 1/16 = 6.25% > 2.5%, likewise all 1: the interval is [0, 1].
    metric = measure_mean([0.0, 0.0, 1.0, 1.0], "higher")
    assert (metric.value, metric.low, metric.high, metric.n, metric.missing) == (0.5, 0.0, 1.0, 4, 0)


def test_interval_of_many_coins_is_the_normal_one():
    # n = 400, p = 0.5: standard error 0.5 / 20 = 0.025, so 0.5 -+ 1.96 * 0.025 = [0.451, 0.549].
    metric = measure_mean([0.0, 1.0] * 200, "higher")
    assert metric.low == pytest.approx(0.451, abs=0.006)
    assert metric.high == pytest.approx(0.549, abs=0.006)


def test_same_input_same_interval_whatever_the_chunks(monkeypatch):
    # The seed is fixed, and drawing the resamples in pieces changes nothing.
    columns = np.arange(7.0).reshape(-1, 1)
    whole = measure(columns, mean, 0, "lower")
    monkeypatch.setattr(intervals, "CHUNK", 21)
    assert measure(columns, mean, 0, "lower") == whole


def test_missing_is_counted_and_never_averaged():
    # None is neither 0 nor 1; with nothing scored there is no value.
    metric = measure_mean([1.0, None, 0.5], "lower")
    assert (metric.value, metric.n, metric.missing) == (0.75, 2, 1)
    nothing = measure_mean([None, None], "lower")
    assert (nothing.value, nothing.low, nothing.high, nothing.n, nothing.missing) == (None, None, None, 0, 2)
