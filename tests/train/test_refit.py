"""Real refits of a tiny model: on which rows, in which order, and when they are done again."""

import json
from typing import Any

import pytest
from forgetfilter.train.stage import REFIT

from forgetfilter import pipeline
from forgetfilter.config.load import load_config
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import read_manifest, scan_shards


def refit(make_run: Any, name: str, *overrides: str) -> Run:
    """M* of a run of which 10 of the 14 rows were kept, 2 of these probes, with 4 rows in its safe set."""
    run: Run = make_run(name, "train.refit.epochs=2", "train.refit.batch_size=4", "train.refit.lr=1e-2", *overrides)
    lines = run.noisy_data.read_text().splitlines(keepends=True)
    run.kept_data.parent.mkdir()
    for path, rows in ((run.kept_data, lines[4:]), (run.safe_data, lines[:4]), (run.probes, lines[-2:])):
        path.write_text("".join(rows))
    with run.stage("filter", "by hand"):
        pass
    pipeline.run_stage(run, REFIT)
    return run


def test_the_refit_learns_the_trusted_rows_mixed_or_last_and_says_so(make_run: Any) -> None:
    # 8 kept rows and 4 trusted ones are mixed in both epochs, or the trusted ones have an epoch of their own at the
    # end, at which the rate rises anew. The loss log has each of them and no probe, and says where they come from.
    mixed = refit(make_run, "mixed", "train.refit.data=kept_and_trusted")
    last = refit(make_run, "last", "train.refit.data=kept_then_trusted", "train.checkpoint_steps=0")
    kept, trusted = ([json.loads(line)["id"] for line in path.read_text().splitlines()] for path in (
        last.kept_data, last.safe_data
    ))  # fmt: skip
    logs = {run.config.name: scan_shards(run.model("refit") / "losses").collect() for run in (mixed, last)}
    assert sorted(logs["mixed"]["id"]) == sorted(2 * (kept[:-2] + trusted))
    by_epoch = {epoch: set(rows["id"]) for (epoch,), rows in logs["last"].group_by("epoch")}
    assert by_epoch == {0: set(kept[:-2]), 1: set(kept[:-2]), 2: set(trusted)}
    rates = [json.loads(line)["lr"] for line in (last.model("refit") / "metrics.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([1e-2, 7.5e-3, 5e-3, 2.5e-3, 1e-2])
    told = {"data": "kept_then_trusted", "kept": 8, "trusted": 4, "left_out": {"probes": 2, "twice": 0}}
    assert read_manifest(last.model("refit") / "losses")["trained_on"] == told


def test_the_rate_rises_anew_under_deepspeed_too(make_run: Any) -> None:
    # Two ranks train under ZeRO-2, with a checkpoint in each part.
    run = refit(make_run, "zero", "train.refit.data=kept_then_trusted", "train.deepspeed=zero2", "launch.processes=2")
    rates = [json.loads(line)["lr"] for line in (run.model("refit") / "metrics.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([1e-2, 7.5e-3, 5e-3, 2.5e-3, 1e-2])


def test_a_refit_stays_as_long_as_what_it_learned_does(make_run: Any) -> None:
    # Another choice of its data makes another refit. The number of passes over trusted rows counts only where there are
    # such rows.
    run = refit(make_run, "one", "train.refit.data=kept")

    def done(*overrides: str) -> bool:
        other = Run(run.folder, load_config(run.folder / "config.yaml", list(overrides)))
        return other.is_done("train-refit", REFIT.task(other).input_hash())

    assert done() and done("train.refit.trusted_epochs=2")
    assert not done("train.refit.data=kept_and_trusted") and not done("train.refit.epochs=3")
    plain = REFIT.task(run).inputs()
    run.probes.unlink()
    alone = REFIT.task(run).inputs()
    assert isinstance(plain, list) and isinstance(alone, list)
    assert alone == plain[:7]  # as it was before there was a choice
