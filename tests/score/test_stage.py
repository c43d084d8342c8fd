"""The score stage on a tiny trained run: what another option adds, and what it leaves alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaMLP

from forgetfilter import cli, pipeline
from forgetfilter.config.load import load_config
from forgetfilter.data.records import read_records
from forgetfilter.files import read_json, write_json
from forgetfilter.models import ceiling
from forgetfilter.process.distributed import World
from forgetfilter.process.launch import launch
from forgetfilter.score.parts import Part, Scorer
from forgetfilter.score.stage import SCORE, settings
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import (
    LOSS_SCHEMA,
    merged,
    scan_shards,
    shard_path,
    shard_paths,
    write_manifest,
    write_shard,
)

pytestmark = pytest.mark.usefixtures("forked_ranks")


def pair(text: str, number: int) -> dict[str, str]:
    return {"prompt": f"what is {number} of {text}?", "completion": f"it is {text} {number * 7}{'!.?'[number % 3]}"}


def call(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The config file of a run that is scored before and after, and no more."""
    folder = tmp_path_factory.mktemp("scored")
    rows = {"noisy": [pair("cat", n) for n in range(14)], "safe": [pair("mat", n) for n in range(6)]}
    rows["control"] = [pair("land", n) for n in range(5)]
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = folder / "config.yaml"
    config.write_text(
        f"name: run\noutput: {folder}/runs\ncache: {folder}/cache\nmodel: {{name: {tiny_model}, dtype: float32}}\n"
        f"data: {{noisy: {{web: {{path: {folder}/noisy.jsonl}}}}, safe: {{ours: {{path: {folder}/safe.jsonl}}}},\n"
        "  batch_tokens: 200}\n"
        "train: {noisy: {epochs: 2, lr: 2e-2, batch_size: 4}, safe: {epochs: 1, lr: 2e-2, batch_size: 4}}\n"
        "score: {shard_rows: 6}\ntracking: {mode: disabled}\n"
    )
    for command in (["mix"], ["train"], ["score"]):
        assert call(*command, config, *(["noisy", "safe"] if command == ["train"] else [])) == 0
    return config


@pytest.fixture
def again(trained: Path, tmp_path: Path) -> Any:
    """Scores a copy of the run with further options; gives its folder of signals. It runs the stage itself, because the
    command asks for the trainings anew where an option is theirs too."""
    copy = shutil.copytree(trained.parent / "runs", tmp_path / "runs") / "run"

    def score(*options: str) -> Path:
        run = Run.create(load_config(trained, [f"output={tmp_path}/runs", *options]), resume=True)
        pipeline.run_stage(run, SCORE)
        return copy / "signals"

    return score


def stamps(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*.parquet"))}


def test_another_option_leaves_the_finished_scorings_alone(again: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # M0's losses and the noise are added to a run that was scored before; taking an option back removes nothing. The
    # record has the tokens of the passes that were made, which are those of the data, and their operations.
    monkeypatch.setattr(ceiling, "LEAST", 1)
    monkeypatch.setattr(ceiling, "ceiling", lambda *_: 1e13)
    before = stamps(again())
    assert {name.split("/")[0] for name in before} == {"before", "after"}
    folder = again("score.base=true")
    with_base = stamps(folder)
    assert before.items() < with_base.items() and (folder / "base" / "manifest.json").exists()
    both = stamps(again("score.noise=true"))
    assert with_base.items() < both.items() and {name.split("/")[0] for name in both} == {
        *("before", "after", "base", "noise")
    }
    told = read_json(folder.parent / "state.json")["score"]["passes"]
    lengths = Scorer(settings(Run.open(folder.parent)), World(0, 1, 0)).prepared.lengths()
    assert {name: one["tokens"] for name, one in told.items()} == {"score noise": lengths.sum()}
    assert told["score noise"]["operations"] > 2 * 10_000 * lengths.sum() and told["score noise"]["ceiling"] == 1e13


def test_token_losses_are_added_by_scoring_both_states_again(again: Any) -> None:
    # They lie in the shards of the two states, which are made again with the same losses; the other scorings stay.
    folder = again("score.base=true")
    base, losses = stamps(folder / "base"), merged(folder / "before")
    again("score.base=true", "score.tokens=true")
    assert stamps(folder / "base") == base
    assert merged(folder / "before").drop("token_losses", "token_correct").equals(losses)
    assert set(scan_shards(folder / "tokens").collect()["id"]) == set(losses["id"])
    kept = stamps(folder)
    assert stamps(again("score.base=true")) == kept


def test_what_is_of_another_model_or_other_batches_goes(again: Any, trained: Path) -> None:
    # With other batches everything is scored again, and what is not asked for any more is removed.
    folder = again("score.base=true")
    old = stamps(folder)
    new = stamps(again("data.batch_tokens=100"))
    assert {name.split("/")[0] for name in new} == {"before", "after"}
    assert not {*old.values()} & {*new.values()}


def test_a_full_memory_has_all_scored_in_smaller_batches(
    again: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    # By auto: one number for all states, in the note and in each manifest, and the losses are what they were (1e-5).
    before = merged(again() / "before")
    whole: Any = LlamaMLP.forward

    def small(module: torch.nn.Module, states: torch.Tensor) -> torch.Tensor:
        if states.shape[:-1].numel() > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        output: torch.Tensor = whole(module, states)
        return output

    with monkeypatch.context() as patch:
        patch.setattr(LlamaMLP, "forward", small)
        folder = again("data.batch_tokens=auto", "score.noise=true")
        assert "one row of" not in capsys.readouterr().err
    manifests = [read_json(folder / name / "manifest.json") for name in ("before", "after")]
    noted = read_json(folder.parent / "batch_tokens.json")["tokens"]
    assert [one["plan"]["batch_tokens"] for one in manifests] == [noted, noted] and 40 < noted <= 100
    after = merged(folder / "before")
    assert after["id"].equals(before["id"])
    assert after["loss_sum"].to_list() == pytest.approx(before["loss_sum"].to_list(), rel=1e-5)
    monkeypatch.setattr(LlamaMLP, "forward", small)  # a number that was asked for stays
    assert call("score", folder.parent / "config.yaml", "--resume", "data.batch_tokens=1000") == 2


def test_a_scoring_without_a_plan_is_known_by_its_manifest(again: Any) -> None:
    # Runs that were made before there were plans and sums have such scorings.
    folder = again()
    before = stamps(folder)
    shutil.rmtree(folder.parent / "sums")
    for path in folder.glob("*/plan.json"):
        path.unlink()
    for path in folder.glob("*/manifest.json"):
        write_json(path, read_json(path) | {"world_size": 7})
    assert before.items() < stamps(again("score.base=true")).items()


def test_a_part_of_an_unfinished_stage_is_there_only_with_every_bit(tmp_path: Path) -> None:
    # Its manifest is written while the stage goes on with other parts, and has no sums yet.
    row = {"id": "a", "source": "web", "num_tokens": 2, "loss_sum": 0.5, "rank": 0, "step": 0, "epoch": 0}
    write_shard(shard_path(tmp_path, 0, 0), pa.Table.from_pylist([row], schema=LOSS_SCHEMA))
    write_manifest(tmp_path, {"state": "noisy"})
    part = Part(tmp_path, {"state": "noisy"}, lambda: None)
    assert part.stored(1) and not part.stored(2)
    shard = shard_paths(tmp_path)[0]
    content = bytearray(shard.read_bytes())
    content[content.rindex(b"loss_sum")] ^= 1
    shard.write_bytes(content)
    assert not part.stored(1)


def test_a_shard_that_is_lost_after_all_is_made_again(again: Any, capsys: Any) -> None:
    # The stage is done, but a shard of a part was cut short: the same command says so, makes it again and leaves the
    # others alone. The same holds for a shard or a folder that is gone. If everything is there, nothing is done.
    folder = again("score.base=true")
    whole, held = stamps(folder), merged(folder / "base")
    command = ("score", folder.parent / "config.yaml", f"output={folder.parents[1]}", "--resume")
    for left in (100, 0):
        lost, before = shard_paths(folder / "base")[0], stamps(folder)
        lost.write_bytes(lost.read_bytes()[:left])
        if not left:
            lost.unlink()
        assert call(*command) == 0
        assert "is not as the stage left it: done again" in " ".join(capsys.readouterr().err.split())
        after = stamps(folder)
        assert merged(folder / "base").equals(held) and len({*before.items()} & {*after.items()}) == len(before) - 1
    shutil.rmtree(folder / "base")
    assert call(*command) == 0 and stamps(folder).keys() == whole.keys()
    capsys.readouterr()
    assert call(*command) == 0 and "score: done already" in capsys.readouterr().err


def test_rouge_is_added_too(again: Any) -> None:
    # Answers are generated for a run that was scored without them.
    before = stamps(again())
    options = ("score.rouge=true", "score.max_new_tokens=2")
    folder = again(*options)
    assert before.items() < stamps(folder).items()
    assert set(scan_shards(folder / "rouge1" / "after").collect().columns) == {"id", "source", "rouge1"}
    kept = stamps(folder)
    (folder / "base").mkdir()  # nothing of it is whole
    assert stamps(again(*options)) == kept


def test_a_control_finetuning_takes_out_what_any_training_forgets(again: Any, trained: Path) -> None:
    # It starts from M1, is scored with the others, becomes a signal, and is skipped once it is done.
    folder = again()
    before, state = stamps(folder), read_json(folder.parent / "state.json")
    control = f"data.control.other.path={trained.parent}/control.jsonl"
    options = (trained, f"output={folder.parents[1]}", "--resume", control, "train.control.lr=2e-2")
    for command in (["mix"], ["train", "noisy", "safe", "control"]):
        assert call(command[0], *options, *command[1:]) == 0
    made = read_json(folder.parent / "state.json")
    assert {name: made[name]["input_hash"] for name in ("train-noisy", "train-safe")} == {
        name: state[name]["input_hash"] for name in ("train-noisy", "train-safe")
    }
    again(control, "train.control.lr=2e-2")
    assert before.items() < stamps(folder).items()
    lost, held = (merged(folder / name)["loss_sum"].to_list() for name in ("after", "control"))
    assert lost != held and merged(folder / "before")["loss_sum"].to_list() != held
    signal = ("filter.signal=relative_contrastive_rise", "filter.rule=top_k", "filter.top_k=2")
    assert call("filter", *options, *signal) == 0
    assert read_json(folder.parent / "filter" / "summary.json")["dropped"] == 2
    assert call("train", *options, "control") == 0
    assert stamps(folder).keys() == {
        *before,
        *(f"control/{name.split('/', 1)[1]}" for name in before if "after" in name),
    }
    again()  # without a control set its scores go
    assert stamps(folder) == before


def test_without_a_control_set_nothing_depends_on_one(again: Any, trained: Path, capsys: Any) -> None:
    # The stages of an older run keep their hashes, and `train control` says that it has nothing to do.
    run = Run.open(again().parent)
    for stage in pipeline.STAGES:
        if stage.name in ("train-noisy", "train-safe", "score"):
            assert "control" not in json.dumps(stage.task(run).inputs())
    assert call("train", trained, f"output={run.folder.parent}", "control") == 0
    assert "train-control: nothing to do" in "".join(capsys.readouterr())
    with_signal = ("train", trained, "filter.signal=contrastive_rise", "name=other")
    assert call(*with_signal) == 2
    assert "filter.signal=contrastive_rise needs a control set: set data.control" in capsys.readouterr().err


def test_gradients_are_added_resumed_and_the_same_on_two_ranks(again: Any, trained: Path) -> None:
    # A shard that is lost is made again by two ranks with the same numbers; the losses are left alone.
    before = stamps(again())
    small = ("train.micro_batch_tokens=100", "score.shard_rows=3")  # several batches, and several shards
    folder = again("score.gradients=true", "score.gradient_dimensions=64", *small)
    assert before.items() < stamps(folder).items()
    found = scan_shards(folder / "gradients").sort("id").collect()
    assert len(found) == 14 and found["gradient_distance"].is_between(0, 2).all()
    lost, *left = shard_paths(folder / "gradients")
    assert left
    lost.unlink()
    (folder / "gradients" / "manifest.json").unlink()
    kept = stamps(folder / "gradients" / "safe")
    launch("forgetfilter.score.__main__", [str(folder.parent)], 2, 1)
    assert stamps(folder / "gradients" / "safe") == kept
    second = scan_shards(folder / "gradients").sort("id").collect()
    assert second["gradient_distance"].to_list() == pytest.approx(found["gradient_distance"].to_list(), abs=1e-6)


def test_embeddings_are_added(again: Any, tiny_model: Path) -> None:
    # Any encoder can be named by its folder. What is there stays when it is not asked for any more.
    before = stamps(again())
    folder = again(f"score.encoder={tiny_model}")
    assert before.items() < stamps(folder).items()
    assert scan_shards(folder / "embeddings").collect()["embedding_distance"].is_between(-1e-6, 2).all()
    kept = stamps(folder)
    assert stamps(again()) == kept


def test_a_guard_is_asked_resumed_and_the_same_on_two_ranks(again: Any, tiny_guard: Path, capsys: Any) -> None:
    # Its verdict on each row becomes a signal. A shard that is lost is made again by two ranks, and no text is printed.
    before = stamps(again())
    options = ("score.guard.name=llama-guard", f"score.guard.model={tiny_guard}", "score.shard_rows=5")
    capsys.readouterr()
    folder = again(*options)
    told = capsys.readouterr().err
    assert "the guard has no verdict on 4 of 14 examples (it writes something else than a verdict)" in told
    assert "cat" not in told
    assert before.items() < stamps(folder).items()
    found = scan_shards(folder / "guard").sort("id").collect()
    assert set(found["id"]) == set(merged(folder / "before")["id"]) and found["guard"].null_count() == 4
    assert sorted(found["guard"].drop_nulls().round(4)) == [0.2689] * 5 + [0.8075] * 5
    lost, *kept = shard_paths(folder / "guard")
    lost.unlink()
    (folder / "guard" / "manifest.json").unlink()
    written = {path: path.stat().st_mtime_ns for path in kept}
    launch("forgetfilter.score.__main__", [str(folder.parent)], 2, 1)
    assert scan_shards(folder / "guard").sort("id").collect().equals(found)
    assert len(kept) == 2 and written == {path: path.stat().st_mtime_ns for path in kept}


def test_a_guard_that_is_not_there_is_told_before_anything_is_trained(trained: Path, capsys: Any) -> None:
    # The line names its key and the nearest name; a signal that needs a guard says how to ask for one.
    for options, words in (
        (["score.guard.name=lama-guard"], "score.guard.name cannot be 'lama-guard'; did you mean 'llama-guard'"),
        (["score.guard.name=classifier"], "score.guard.model is not set: name a text classification model"),
        (["score.guard.name=wildguard", "score.guard.model=/nowhere"], "score.guard.model: /nowhere is not a folder"),
        (["filter.signal=guard"], "filter.signal=guard needs score.guard.name=NAME"),
    ):
        assert call("run", trained, "name=fresh", *options) == 2
        assert words in capsys.readouterr().err
    assert not (trained.parent / "runs" / "fresh" / "train").exists()


def test_gradients_need_an_adapter(trained: Path, capsys: Any) -> None:
    # A full finetuning has no space of LoRA weights.
    assert call("score", trained, "name=full", "train.method=full", "score.gradients=true") == 2
    assert "score.gradients needs train.method=lora or qlora" in capsys.readouterr().err


def test_rows_that_are_cut_within_an_answer_are_named(again: Any) -> None:
    # Rows with text of an answer behind the cut are named by their ids, and the filter keeps them apart; if there are
    # none, there is no file.
    folder = again()
    assert not (folder / "unread.parquet").exists()
    run = Run.open(folder.parent)
    prepared = Scorer(settings(run), World(0, 1, 0)).prepared
    answers = {prepared.table["id"][row].as_py(): prepared.turns(row)[0] for row in range(len(prepared))}

    def cut(most: int) -> set[str]:
        """The rows whose prompt, be it cut to a quarter, leaves too few tokens for the text of the answer."""
        room = {id_: most - min(start, max(most - end + start, most // 4)) for id_, (start, end) in answers.items()}
        return {id_ for id_, (start, end) in answers.items() if end - start - 1 > room[id_]}

    most, long = next((n, cut(n)) for n in range(4, 99) if 0 < len(cut(n)) < len(answers))
    again(f"data.max_length={most}")
    assert set(pl.read_parquet(folder / "unread.parquet")["id"]) == long
    assert read_json(folder / "before" / "manifest.json")["unread"] == len(long)
    options = ["filter.signal=loss_rise", "filter.rule=top_k", "filter.top_k=0"]
    assert call("filter", folder.parent, *options) == 0
    assert {record.id for record in read_records(folder.parent / "filter" / "too_long.jsonl")} == long
    assert not {record.id for record in read_records(folder.parent / "filter" / "kept.jsonl")} & long
