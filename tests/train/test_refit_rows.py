"""The refit's data: one file with provenance, no probe in it, and no row twice."""

import json
from pathlib import Path
from typing import Any

import pytest
from forgetfilter.train.refit_rows import inputs, write_refit_rows

from forgetfilter.config.schema import RefitConfig
from forgetfilter.data.records import Record, make_records, read_records, write_records
from forgetfilter.errors import UserError
from forgetfilter.storage.run_paths import RunPaths


def records(*words: str, source: str = "toy") -> list[Record]:
    return list(make_records(([{"role": "assistant", "content": word}], source, None) for word in words))


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    made = RunPaths(tmp_path)
    write_records(made.kept_data, records("a", "b", "b", "ours", "probe", "probe"))
    write_records(made.safe_data, records("ours", "mine", source="safe"))
    write_records(made.probes, records("probe"))
    return made


def written(paths: RunPaths) -> list[tuple[str, str]]:
    rows: list[dict[str, Any]] = [json.loads(line) for line in paths.refit_data.read_text().splitlines()]
    return [(row["messages"][-1]["content"], row["part"]) for row in rows]


def test_kept_alone_is_what_was_kept_without_the_probes(paths: RunPaths) -> None:
    # A duplicate in the noisy data stays one, and every copy of a probe is left out.
    told = write_refit_rows(paths, "kept")
    assert written(paths) == [("a", "kept"), ("b", "kept"), ("b", "kept"), ("ours", "kept")]
    assert told == {"data": "kept", "kept": 4, "trusted": 0, "left_out": {"probes": 2, "twice": 0}}
    assert json.loads(paths.refit_counts.read_text()) == told


@pytest.mark.parametrize("data", ["kept_and_trusted", "kept_then_trusted"])
def test_a_row_that_is_kept_and_trusted_too_is_there_once(paths: RunPaths, data: str) -> None:
    # The trusted rows come last, each once, under the ids that they have everywhere.
    told = write_refit_rows(paths, data)
    assert written(paths) == [("a", "kept"), ("b", "kept"), ("b", "kept"), ("ours", "trusted"), ("mine", "trusted")]
    assert told == {"data": data, "kept": 3, "trusted": 2, "left_out": {"probes": 2, "twice": 1}}
    ids = [row.id for row in read_records(paths.refit_data)]
    assert ids == [row.id for row in (*records("a", "b", "b"), *records("ours", "mine"))]


def test_where_only_trusted_rows_are_left_the_refit_is_refused(paths: RunPaths) -> None:
    # M* would not be a refit of the noisy data. No counts are left behind, because these are written last.
    write_records(paths.kept_data, records("probe", "mine"))
    with pytest.raises(UserError, match="holds no row but trusted ones"):
        write_refit_rows(paths, "kept_and_trusted")
    assert not paths.refit_counts.exists()


def test_the_refit_depends_on_what_it_learns(paths: RunPaths) -> None:
    # It depends on the safe set only if that is a part of its data, and in a run without probes only on the kept rows.
    kept, *others = (RefitConfig(data=data) for data in ("kept", "kept_and_trusted", "kept_then_trusted"))
    before = [inputs(paths, chosen) for chosen in (kept, *others)]
    write_records(paths.safe_data, records("other"))
    assert [inputs(paths, chosen) == found for chosen, found in zip((kept, *others), before)] == [True, False, False]
    write_records(paths.probes, records("a"))
    assert inputs(paths, kept) != before[0]
    paths.probes.unlink()
    assert inputs(paths, kept) == []
