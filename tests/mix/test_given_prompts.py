"""The prompts of an evaluation, as files give them or a mixture makes them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from given_rows import config, pair
from mixtures import write

from forgetfilter.config.schema import Config, EvalConfig, MixtureConfig, PoolConfig, SourceConfig
from forgetfilter.errors import UserError
from forgetfilter.mix.given_prompts import asked_sources
from forgetfilter.mix.stage import input_hash, mix
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths


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
