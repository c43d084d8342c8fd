import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from mixtures import write

from forgetfilter.config.schema import (
    Config,
    DataConfig,
    EvalConfig,
    FilterConfig,
    MixtureConfig,
    PoolConfig,
    SourceConfig,
)
from forgetfilter.data.records import read_records
from forgetfilter.errors import UserError
from forgetfilter.files import read_json
from forgetfilter.mix.given_prompts import asked_sources
from forgetfilter.mix.stage import input_hash, mix
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths


def config(folder: Path, noisy: list[dict[str, Any]], safe: list[dict[str, Any]], **more: Any) -> Config:
    data = DataConfig({"mine": write(folder / "noisy.jsonl", noisy)}, {"ok": write(folder / "safe.jsonl", safe)})
    return Config(data=data, **more)


def pair(prompt: str, **more: str) -> dict[str, Any]:
    return {"prompt": prompt, "completion": "a", **more}


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


def test_evaluation_prompts_are_written_by_suite(tmp_path: Path) -> None:
    # The prompts of each suite have a file, and what an earlier mix left for another suite is removed.
    source = write(tmp_path / "task.jsonl", [{"prompt": "2 plus 2?", "reference": "4"}])
    run = Run(tmp_path / "run", config(tmp_path, [pair("1")], [pair("2")], eval=EvalConfig(data={"task": source})))
    run.eval_prompts("bias").parent.mkdir(parents=True)
    run.eval_prompts("bias").write_text("of an earlier mix\n")
    assert mix(run, run.config)["eval"] == {"task": 1}
    (row,) = [json.loads(line) for line in run.eval_prompts("task").read_text().splitlines()]
    assert (row["source"], row["reference"], row["metric"]) == ("task", "4", "exact")
    assert not run.eval_prompts("bias").exists()


def test_an_unknown_suite_names_the_nearest(tmp_path: Path) -> None:
    # Prompts of an unknown suite would silently be unused, so they are refused with the nearest name.
    source = write(tmp_path / "p.jsonl", [{"prompt": "q"}])
    made = config(tmp_path, [pair("1")], [pair("2")], eval=EvalConfig(data={"toxcity": source}))
    with pytest.raises(UserError, match=r"eval.data.toxcity is no suite; did you mean 'toxicity'"):
        mix(RunPaths(tmp_path / "run"), made)


def test_a_mixture_and_given_prompts_of_its_suite_clash(tmp_path: Path) -> None:
    # Prompts that are given for the suite of the mixture are refused, so that neither is silently ignored.
    rows = [{"text": f"one two three{n} four", "s": n % 2} for n in range(40)]
    pool = PoolConfig("toxicity", write(tmp_path / "t.jsonl", rows), {"score": "s"})
    drawn = MixtureConfig(kind="toxicity", size=10, safe_size=3, eval_size=4, pools={"t": pool})
    run = Run(tmp_path / "run", Config(mixture=drawn))
    assert mix(run, run.config)["noisy"] == {"rows": 10, "by_source": {"toxicity": {"unsafe": 3, "safe": 7}}}
    clash = dataclasses.replace(run.config, eval=EvalConfig(data={"toxicity": pool.source}))
    with pytest.raises(UserError, match=r"eval\.data\.toxicity is set, but the mixture makes the prompts of toxicity"):
        mix(RunPaths(tmp_path / "run"), clash)


def test_the_input_hash_follows_the_files_and_the_settings_in_use(tmp_path: Path) -> None:
    # A changed row changes the hash, and the seed does not where there is no mixture.
    first = config(tmp_path, [pair("1")], [pair("2")])
    start = input_hash(first)
    assert input_hash(dataclasses.replace(first, seed=5)) == start
    assert input_hash(config(tmp_path, [pair("1")], [pair("3")])) != start


def bbq_row(number: int, groups: list[str]) -> dict[str, Any]:
    info = {"ans0": ["Ann", "F-Black"], "ans1": ["Eve", "F-Black"], "ans2": ["unclear", "unknown"]}
    return {
        "example_id": number, "question_polarity": "neg", "context_condition": "ambig", "category": "Made",
        "answer_info": info, "additional_metadata": {"stereotyped_groups": groups}, "label": 2,
        "context": f"Two met {number} times.", "question": "Who forgot?",
        "ans0": "Ann", "ans1": "Eve", "ans2": "Unclear",
    }  # fmt: skip


def test_bbq_rows_without_a_target_are_counted_and_the_metadata_helps(tmp_path: Path) -> None:
    # Neither row tells its target by its groups, and the published metadata tells that of one; without any row left the
    # source is refused.
    source = write(tmp_path / "bbq.jsonl", [bbq_row(1, ["Black"]), bbq_row(2, ["Black"])])
    table = tmp_path / "metadata.csv"
    table.write_text("category,example_id,target_loc\nMade,1,0\n")
    told = EvalConfig(models=["base"], data={"bias": source}, bbq_metadata=SourceConfig(path=str(table)))
    summary = mix(RunPaths(tmp_path / "run"), Config(eval=told))
    assert summary["eval"] == {"bias": 1}
    assert summary["skipped"] == {"eval.data.bias": {"Made: not exactly one answer of a stereotyped group": 1}}
    untold = EvalConfig(models=["base"], data={"bias": source})
    with pytest.raises(UserError, match=r"eval\.data\.bias gives no prompt \(Made: not exactly one .*: 2\)"):
        mix(RunPaths(tmp_path / "run"), Config(eval=untold))


def stereotyped(folder: Path, rows: list[dict[str, Any]], table: str | None) -> list[int]:
    """Of each prompt of suite bias; `table`: the lines of a metadata file."""
    source, metadata = write(folder / "bbq.jsonl", rows), folder / "metadata.csv"
    metadata.write_text(f"category,example_id,target_loc\n{table}")
    given = SourceConfig(path=str(metadata)) if table else None
    run = Run(folder / "run", Config(eval=EvalConfig(models=["base"], data={"bias": source}, bbq_metadata=given)))
    mix(run, run.config)
    return [json.loads(line)["stereotyped"] for line in run.eval_prompts("bias").read_text().splitlines()]


def test_the_metadata_changes_no_row_that_tells_its_groups(tmp_path: Path) -> None:
    # In rows of both polarities the published target_loc agrees with the groups, and alone it gives the same roles.
    info = {"answer_info": {"ans0": ["Ann", "F"], "ans1": ["Bob", "M"], "ans2": ["unclear", "unknown"]}}
    rows = [bbq_row(n, ["M"]) | info | {"question_polarity": p} for n, p in enumerate(("neg", "nonneg"))]
    assert stereotyped(tmp_path, rows, None) == [1, 1] == stereotyped(tmp_path, rows, "Made,0,1\nMade,1,0\n")
    untold = [row | {"additional_metadata": {"stereotyped_groups": ["nobody"]}} for row in rows]
    assert stereotyped(tmp_path, untold, "Made,0,1\nMade,1,0\n") == [1, 1]


def test_a_table_that_is_not_turned_by_the_polarity_is_refused(tmp_path: Path) -> None:
    # A table that contradicts the groups of all non-negative rows would be wrong where the groups do not tell, so it is
    # refused; a single row that contradicts is read by its groups.
    info = {"answer_info": {"ans0": ["Ann", "F"], "ans1": ["Bob", "M"], "ans2": ["unclear", "unknown"]}}
    rows = [bbq_row(n, ["M"]) | info | {"question_polarity": "nonneg"} for n in range(3)]
    with pytest.raises(UserError, match=r"target_loc contradicts the groups of 3 of 3 non-negative rows"):
        stereotyped(tmp_path, rows, "Made,0,1\nMade,1,1\nMade,2,1\n")
    assert stereotyped(tmp_path, rows, "Made,0,0\nMade,1,0\nMade,2,1\n") == [1, 1, 1]


def test_a_run_that_only_evaluates_has_prompts_and_no_records(tmp_path: Path) -> None:
    # With nothing to train on and only M0 to measure the mix writes only prompts.
    source = write(tmp_path / "p.jsonl", [{"goal": "q"}])
    run = Run(tmp_path / "run", Config(eval=EvalConfig(models=["base"], data={"harmfulness": source})))
    assert run.config.only_evaluates
    assert mix(run, run.config)["eval"] == {"harmfulness": 1}
    assert run.eval_prompts("harmfulness").exists() and not run.noisy_data.exists()


def test_only_the_suites_that_are_asked_are_read_where_nothing_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The prompts of another suite may be missing altogether; asked for later, they make another mix. Prompts that a
    # suite takes from another one's count as asked. Before a training all are read.
    harm, none = write(tmp_path / "p.jsonl", [{"goal": "q"}]), SourceConfig(path=str(tmp_path / "none.jsonl"))
    data = {"harmfulness": harm, "toxicity": none}
    one, both = (
        Config(eval=EvalConfig(models=["base"], data=data, suites=suites))
        for suites in (["harmfulness"], ["harmfulness", "toxicity"])
    )
    assert mix(RunPaths(tmp_path / "run"), one)["eval"] == {"harmfulness": 1}
    assert "eval.data: toxicity is not read, for eval.suites does not name it" in capsys.readouterr().err
    alone = EvalConfig(models=["base"], data={"harmfulness": harm}, suites=["harmfulness"])
    assert input_hash(one) == input_hash(Config(eval=alone))
    with pytest.raises(UserError, match=r"none.jsonl is missing"):
        mix(RunPaths(tmp_path / "run"), both)
    borrowed = EvalConfig(models=["base"], data={"bias": none}, suites=["bias_generation"])
    assert [*asked_sources(Config(eval=borrowed))] == ["bias"]
    trained = config(tmp_path, [pair("1")], [pair("2")])
    trained = dataclasses.replace(trained, eval=EvalConfig(data=data, suites=["harmfulness"]))
    assert [*asked_sources(trained)] == ["harmfulness", "toxicity"]


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
