"""Probes: given ones, and those that are set aside from the safe set."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from given_rows import config, pair
from mixtures import write

from forgetfilter.config.schema import Config, FilterConfig
from forgetfilter.data.records import read_records
from forgetfilter.errors import UserError
from forgetfilter.mix.stage import input_hash, mix
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths


def with_probes(folder: Path, probes: list[dict[str, Any]], noisy: list[dict[str, Any]]) -> Config:
    given = config(folder, noisy, [pair("9")])
    source = {"held": write(folder / "probes.jsonl", probes)}
    data = dataclasses.replace(given.data, probes=source)
    return dataclasses.replace(given, data=data, filter=FilterConfig(rule="quantile"))


def test_probes_are_trained_along(tmp_path: Path) -> None:
    # Probes are the last noisy rows, without a label, and are named in a file that is removed when there are none.
    probes = [pair("p", label="safe"), pair("q")]
    run = Run(tmp_path / "run", with_probes(tmp_path, probes, [pair("1", label="safe")]))
    assert mix(run, run.config)["noisy"]["by_source"] == {"mine": {"safe": 1}, "held": {"unlabelled": 2}}
    assert [r.id for r in read_records(run.probes)] == [r.id for r in read_records(run.noisy_data)][1:]
    assert input_hash(run.config) != input_hash(config(tmp_path, [pair("1", label="safe")], [pair("9")]))
    mix(RunPaths(tmp_path / "run"), config(tmp_path, [pair("1")], [pair("9")]))
    assert not run.probes.exists()


def test_too_few_probes_for_the_rule_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    # The rule that is calibrated on probes needs twenty, and any other rule takes what there is.
    config = with_probes(tmp_path, [pair(f"p{n}") for n in range(19)], [pair("1")])
    calibrated = dataclasses.replace(config, filter=FilterConfig(rule="conformal"))
    with pytest.raises(UserError, match=r"data.probes: 19 rows, filter.rule=conformal needs at least 20"):
        mix(RunPaths(tmp_path / "run"), calibrated)
    with pytest.raises(UserError, match=r"filter.rule=auto, with probes conformal, needs at least 20"):
        mix(RunPaths(tmp_path / "run"), dataclasses.replace(config, filter=FilterConfig()))
    assert not (tmp_path / "run" / "data" / "noisy.jsonl").exists()
    mix(RunPaths(tmp_path / "run"), config)


def test_probes_are_set_aside_from_the_safe_set_unless_some_are_given(tmp_path: Path) -> None:
    # A quarter of each source becomes probes, with the copies of a row together and the same rows in any order, and the
    # safe set keeps the rest; if probes are given, it keeps all.
    safe = [pair(f"s{n}", source=("a", "b")[n % 4 == 0]) for n in range(160)]
    run = Run(tmp_path / "run", config(tmp_path, [pair("1")], [*safe, safe[0]]))
    summary = mix(run, run.config)
    probes = {record.id: record.source for record in read_records(run.probes)}
    assert summary["set_aside"] == len(probes) in (40, 41)
    assert sum(source == "b" for source in probes.values()) in (10, 11)
    assert [record.id for record in read_records(run.noisy_data)][1:] == list(probes)
    left = [record.id for record in read_records(run.safe_data)]
    assert len(left) + len(probes) == 161 and not {i[:64] for i in left} & {i[:64] for i in probes}
    again = Run(tmp_path / "again", config(tmp_path, [pair("1")], [safe[0], *safe[::-1]]))
    mix(again, again.config)
    assert {record.id for record in read_records(again.probes)} == set(probes)
    source = {"held": write(tmp_path / "probes.jsonl", [pair("p")])}
    given = dataclasses.replace(run.config.data, probes=source)
    named = Run(tmp_path / "named", Config(data=given, filter=FilterConfig(rule="quantile")))
    mix(named, named.config)
    assert len(list(read_records(named.probes))) == 1 and len(list(read_records(named.safe_data))) == 161


def test_a_small_safe_set_keeps_its_rows(tmp_path: Path) -> None:
    # Fewer than 36 probes could bound nothing by a tenth, so none are set aside, and a rule that needs probes is
    # refused before anything is trained.
    small = config(tmp_path, [pair("1")], [pair(f"s{n}") for n in range(140)])
    run = Run(tmp_path / "run", small)
    assert (
        "set_aside" not in mix(run, run.config)
        and not run.probes.exists()
        and len(list(read_records(run.safe_data))) == 140
    )
    assert (run.filtering.signal, run.filtering.rule) == ("relative_loss_rise", "otsu")
    asked = dataclasses.replace(small, filter=FilterConfig(rule="conformal"))
    with pytest.raises(UserError, match=r"filter.rule=conformal needs probes, and data.probe_share=0.25 .* is 35 rows"):
        mix(RunPaths(tmp_path / "asked"), asked)


def test_the_default_share_leaves_the_input_hash_as_it_was(tmp_path: Path) -> None:
    # A run that was mixed before probes were set aside is not mixed again; another share changes the hash, but not
    # where probes are given.
    small = config(tmp_path, [pair("1")], [pair("2")])

    def with_share(share: float) -> str:
        return input_hash(dataclasses.replace(small, data=dataclasses.replace(small.data, probe_share=share)))

    assert input_hash(small) == with_share(0.25) != with_share(0.5)
    probes = with_probes(tmp_path, [pair("p")], [pair("1")])
    other = dataclasses.replace(probes, data=dataclasses.replace(probes.data, probe_share=0.5))
    assert input_hash(probes) == input_hash(other)  # given probes win


def test_a_probe_that_is_in_the_noisy_set_too_stays_a_probe(tmp_path: Path) -> None:
    # The noisy row is left out with its label, and the probe stays.
    noisy = [pair("1", label="unsafe"), pair("2")]
    run = Run(tmp_path / "run", with_probes(tmp_path, [pair("1")], noisy))
    summary = mix(run, run.config)
    assert summary["noisy"]["by_source"] == {"mine": {"unlabelled": 1}, "held": {"unlabelled": 1}}
    assert summary["taken_out"] == {"probe": 1}


def test_a_probe_that_is_in_the_safe_set_is_refused(tmp_path: Path) -> None:
    # A probe in the safe set is a mistake of the person who trusts both, so it is refused and both sets are named.
    with pytest.raises(UserError, match=r"1 rows of the safe set are in the probe set too \(.*safe.jsonl line 1\)"):
        mix(RunPaths(tmp_path / "run"), with_probes(tmp_path, [pair("9")], [pair("1")]))
