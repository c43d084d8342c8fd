import dataclasses
from pathlib import Path
from typing import Any

import pytest
from given_rows import config, pair
from mixtures import write

from forgetfilter.config.schema import Config, MixtureConfig, PoolConfig, SourceConfig
from forgetfilter.data.records import read_records
from forgetfilter.errors import UserError
from forgetfilter.files import read_json
from forgetfilter.mix.stage import input_hash, mix
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths


def test_labels_and_own_sources_are_taken_over_and_counted(tmp_path: Path) -> None:
    # Labels and sources of rows are taken over and counted, but not a label that is none of ours, such as a class
    # number.
    noisy = [pair("1", label="unsafe", source="bias"), pair("2", label="safe", source="bias"), pair("3", label="7")]
    run = Run(tmp_path / "run", config(tmp_path, noisy, [pair("4")]))
    summary = mix(run, run.config)
    assert [(r.source, r.label) for r in read_records(run.noisy_data)] == [
        ("bias", "unsafe"),
        ("bias", "safe"),
        ("mine", None),
    ]
    assert summary == read_json(run.folder / "data" / "summary.json")
    assert summary == {
        "noisy": {"rows": 3, "by_source": {"bias": {"unsafe": 1, "safe": 1}, "mine": {"unlabelled": 1}}},
        "safe": {"rows": 1, "by_source": {"ok": {"unlabelled": 1}}},
        "eval": {},
        "skipped": {},
        "fields": {"data.noisy.mine": {"claims": {"label": 2, "source": 2}}},  # told, since a stranger may have said so
    }


def test_what_rows_claim_can_be_left_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # With claims: false no stranger's source evades a budget and no label enters the quality; where such claims count,
    # they are told.
    made = config(tmp_path, [pair("1", label="safe", source="ours")], [pair("2")])
    mix(RunPaths(tmp_path / "told"), made)
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "data.noisy.mine: taken from the rows themselves, unless claims: false is set (rows): label (1), source (1)"
        in said
    )
    source = dataclasses.replace(made.data.noisy["mine"], claims=False)
    made = dataclasses.replace(made, data=dataclasses.replace(made.data, noisy={"mine": source}))
    summary = mix(RunPaths(tmp_path / "aside"), made)
    assert summary["noisy"]["by_source"] == {"mine": {"unlabelled": 1}} and "fields" not in summary


def test_duplicates_are_numbered(tmp_path: Path) -> None:
    # Exact duplicates have different ids, by their ordinal.
    run = Run(tmp_path / "run", config(tmp_path, [pair("1"), pair("1")], [pair("2")]))
    mix(run, run.config)
    first, second = read_records(run.noisy_data)
    assert second.id == f"{first.id}-1"


def test_noisy_rows_that_are_trusted_too_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Noisy rows that are trusted too, in whatever shape, are left out, so that nobody can stop a run by planting them,
    # and the trusted sets stay whole.
    noisy = [{"instruction": "3", "input": "", "output": "a"}, pair("1", label="unsafe"), pair("3"), pair("2")]
    run = Run(tmp_path / "run", config(tmp_path, noisy, [pair("3"), pair("2"), pair("4")]))
    summary = mix(run, run.config)
    assert summary["noisy"] == {"rows": 1, "by_source": {"mine": {"unsafe": 1}}}
    assert (summary["safe"]["rows"], summary["taken_out"]) == (3, {"safe": 3})
    said = "".join(capsys.readouterr().err.split())  # a long path is broken anywhere
    assert "data.noisy:3rowsleftout,fortheyaretrustedonestoo" in said and "noisy.jsonlline1" in said


def test_a_noisy_set_of_trusted_rows_alone_is_refused(tmp_path: Path) -> None:
    # A noisy set that is empty without its trusted rows, as where one file is given as both sets, is refused.
    run = Run(tmp_path / "run", config(tmp_path, [pair("1")], [pair("1")]))
    with pytest.raises(UserError, match=r"all rows of the noisy set are in trusted sets too \(.*line 1\)"):
        mix(run, run.config)
    assert not run.noisy_data.exists()


def test_a_refused_mix_leaves_what_the_one_before_made(tmp_path: Path) -> None:
    # If a mix is refused, the run's data stay as they were and nothing half-written is left.
    run = Run(tmp_path / "run", config(tmp_path, [pair("1")], [pair("2")]))
    mix(run, run.config)
    before = {path.name: path.read_bytes() for path in (run.folder / "data").rglob("*") if path.is_file()}
    (tmp_path / "safe.jsonl").unlink()
    with pytest.raises(UserError, match=r"safe.jsonl is missing \(data.safe.ok.path\)"):
        mix(run, run.config)
    assert {path.name: path.read_bytes() for path in (run.folder / "data").rglob("*") if path.is_file()} == before
    assert [path.name for path in run.folder.iterdir()] == ["data"]


def test_what_is_not_learned_is_counted_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Fields that are not learned are counted by source, but not a column that is learned under another name.
    noisy = [{"q": "1", "completion": 7, "score": 1}, {"q": "2", "completion": "a", "score": 2}]
    made = config(tmp_path, noisy, [pair("9")])
    source = dataclasses.replace(made.data.noisy["mine"], columns={"prompt": "q"})
    made = dataclasses.replace(made, data=dataclasses.replace(made.data, noisy={"mine": source}))
    summary = mix(RunPaths(tmp_path / "run"), made)
    assert summary["fields"] == {"data.noisy.mine": {"left_out": {"score": 2}, "rewritten": {"completion": 1}}}
    said = " ".join(capsys.readouterr().err.split())
    assert "data.noisy.mine: learned as text (rows): completion (1)" in said
    assert "data.noisy.mine: not learned (rows): score (2)" in said


@pytest.mark.parametrize(("own", "source"), [("a\rb", "a\ufffdb"), ("\ud800", "\ufffd"), ("a\0b", "a\ufffdb")])
def test_a_source_that_a_row_names_can_stand_in_any_line(tmp_path: Path, own: str, source: str) -> None:
    # Line ends, NUL and half characters, which would break tables and files, are replaced in a source's name.
    run = Run(tmp_path / "run", config(tmp_path, [pair("1", source=own)], [pair("2")]))
    assert list(mix(run, run.config)["noisy"]["by_source"]) == [source]


def test_a_source_that_a_row_names_is_short(tmp_path: Path) -> None:
    # A row's source of ten megabytes, which would stand in every file, is refused, and so is a name in the config with
    # control characters.
    run = Run(tmp_path / "run", config(tmp_path, [pair("1", source="s" * 10_000_000)], [pair("2")]))
    with pytest.raises(UserError, match=r"line 1: its source has 10000000 characters"):
        mix(run, run.config)
    data = dataclasses.replace(run.config.data, noisy={"a\rb": SourceConfig(path="x")})
    with pytest.raises(UserError, match=r"data.noisy: the name 'a\ufffdb' has control characters"):
        mix(RunPaths(tmp_path / "run"), Config(data=data))


def with_control(folder: Path, control: list[dict[str, Any]]) -> Config:
    given = config(folder, [pair("1")], [pair("9")])
    source = {"other": write(folder / "control.jsonl", control)}
    return dataclasses.replace(given, data=dataclasses.replace(given.data, control=source))


def test_a_control_set_has_a_file_of_its_own(tmp_path: Path) -> None:
    # The control set is written to its own file, which is removed when it is not asked for any more.
    run = Run(tmp_path / "run", with_control(tmp_path, [pair("c"), pair("d")]))
    assert mix(run, run.config)["control"] == {"rows": 2, "by_source": {"other": {"unlabelled": 2}}}
    assert len(list(read_records(run.control_data))) == 2
    plain = config(tmp_path, [pair("1")], [pair("9")])
    assert input_hash(run.config) != input_hash(plain)
    mix(RunPaths(tmp_path / "run"), plain)
    assert not run.control_data.exists()


def test_a_control_set_shares_no_row(tmp_path: Path) -> None:
    # A control set with rows of the safe set, which would hide what it is to show, is refused, and noisy rows that are
    # in it are left out of the noisy set.
    run = Run(tmp_path / "run", with_control(tmp_path, [pair("c"), pair("9")]))
    with pytest.raises(UserError, match=r"1 rows of the control set are in the safe set too \(.*line 2\)"):
        mix(run, run.config)
    assert not run.control_data.exists()
    data = dataclasses.replace(with_control(tmp_path, [pair("c")]).data)
    write(tmp_path / "noisy.jsonl", [pair("1"), pair("c")])
    assert mix(RunPaths(tmp_path / "run"), Config(data=data))["taken_out"] == {"control": 1}


def test_without_a_control_set_the_input_hash_is_that_of_before(tmp_path: Path) -> None:
    # A run that was mixed before there were control sets is not mixed again.
    pool = PoolConfig("toxicity", write(tmp_path / "t.jsonl", []), {"score": "s"})
    plain = MixtureConfig(kind="toxicity", pools={"t": pool})
    named = dataclasses.replace(plain, control_from="kind")
    assert input_hash(Config(mixture=plain)) == input_hash(Config(mixture=named))
    assert input_hash(Config(mixture=plain)) != input_hash(Config(mixture=dataclasses.replace(plain, control=1)))


def test_the_input_hash_follows_the_files_and_the_settings_in_use(tmp_path: Path) -> None:
    # A changed row changes the hash, and the seed does not where there is no mixture.
    first = config(tmp_path, [pair("1")], [pair("2")])
    start = input_hash(first)
    assert input_hash(dataclasses.replace(first, seed=5)) == start
    assert input_hash(config(tmp_path, [pair("1")], [pair("3")])) != start


def test_which_answers_are_learned_is_said_in_the_rows(tmp_path: Path) -> None:
    # All answers of a chat are learned in every set. data.learn=last writes what was written before there was a choice,
    # so that such runs stay done.
    turns = [{"role": ("user", "assistant")[n % 2], "content": f"{n}"} for n in range(4)]
    made = config(tmp_path, [{"messages": turns}, pair("1")], [{"messages": turns[:2]}, pair("2")])
    last = dataclasses.replace(made, data=dataclasses.replace(made.data, learn="last"))
    every, run = RunPaths(tmp_path / "all"), RunPaths(tmp_path / "last")
    assert mix(every, made)["noisy"]["turns"] == 1 and "turns" not in mix(run, last)["noisy"]
    assert [record.learn for record in read_records(every.noisy_data)] == ["all", "last"]
    assert {record.learn for path in (run.noisy_data, every.safe_data) for record in read_records(path)} == {"last"}
    assert every.safe_data.read_bytes() == run.safe_data.read_bytes()
    assert input_hash(made) != input_hash(last)
