from pathlib import Path

import numpy as np
import pytest
from forgetfilter.filter.probes import _add_rise
from forgetfilter.filter.table.columns import Columns


def table(tmp_path: Path, rises: list[float], sources: list[int], tokens: int = 2) -> Columns:
    columns = Columns(tmp_path, len(rises))
    columns.write("num_tokens", np.full(len(rises), tokens, dtype=np.int32))
    columns.write("before_loss_sum", np.ones(len(rises)))
    columns.write("after_loss_sum", 1.0 + tokens * np.array(rises))
    columns.write("source", np.array(sources, dtype=np.int32))
    return columns


def test_a_row_is_compared_with_the_probes_of_its_source(tmp_path: Path) -> None:
    # The expected rise weighs the source's probes and seven rows of all probes' mean, and a source without probes takes
    # that mean alone.
    columns = table(tmp_path, [0.5, 0.1, 0.3, 9.0, 0.2, 7.0], [0, 0, 0, 1, 1, 2])
    _add_rise(columns, np.array([False, True, True, False, True, False]))
    found = columns.read("probe_rise")
    everywhere = (0.1 + 0.3 + 0.2) / 3
    assert found[0] == pytest.approx((0.1 + 0.3 + 7 * everywhere) / 9)
    assert found[3] == pytest.approx((0.2 + 7 * everywhere) / 8)
    assert found[5] == pytest.approx(everywhere)


def test_a_probe_is_compared_with_the_others(tmp_path: Path) -> None:
    # A probe's own rise does not enter what is expected of it: of two probes each expects the other's rise.
    columns = table(tmp_path, [0.1, 0.5, 3.0], [0, 0, 0])
    _add_rise(columns, np.array([True, True, False]))
    assert columns.read("probe_rise") == pytest.approx([0.5, 0.1, 0.3])


def test_a_rise_common_to_a_source_is_taken_out(tmp_path: Path) -> None:
    # A rise that all rows of a source share, probes too, moves the expected rise by as much, so nothing stands out.
    rng = np.random.default_rng(0)
    sources, probe = np.repeat([0, 1], 500), np.tile([True, False], 500)
    rises = rng.normal(0, 0.1, 1000) + 2.0 * sources
    columns = table(tmp_path, rises.tolist(), sources.tolist())
    _add_rise(columns, probe)
    excess = rises - columns.read("probe_rise")
    means = [excess[~probe & (sources == source)].mean() for source in (0, 1)]
    assert np.abs(means).max() < 0.05


def test_a_single_probe_says_nothing(tmp_path: Path) -> None:
    # A single probe has no other to be compared with, so there is no column.
    columns = table(tmp_path, [0.1, 0.5], [0, 0])
    _add_rise(columns, np.array([True, False]))
    assert "probe_rise" not in columns.types
