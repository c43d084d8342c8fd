"""Faults by stage: each is disturbed once it has saved something, goes on after a requeue, and ends the same.

Some cells of the table by default; all of them with FORGETFILTER_ALL_FAULTS=1 (make test-slurm-full).
"""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forgetfilter import cli
from forgetfilter.process.weights_and_biases import run_id

# stage: the words after CONFIG's command, what it leaves as it goes, and the stages that then decide what is kept
STAGES: dict[str, tuple[tuple[str, ...], str, tuple[tuple[str, ...], ...]]] = {
    "train-noisy": (("train", "noisy"), "train/noisy/losses", (("train", "safe"), ("score",), ("filter",))),
    "train-safe": (("train", "safe"), "train/safe/losses", (("score",), ("filter",))),
    "score": (("score",), "signals/before", (("filter",),)),
    "train-refit": (("train", "refit"), "train/refit/losses", ()),
    "eval": (("eval",), "eval/refit/harmfulness/generations", ()),
    "judge": (("eval",), "cache/verdicts", ()),
}
FAULTS = ("warning", "preempted", "scancel", "worker", "node", "first-node", "batch-script")
CHOSEN = [("warning", "judge"), ("preempted", "train-refit"), ("scancel", "eval"), ("node", "score")]
ROUND = 8  # answers that two ranks judge together, four each
EVERYTHING = bool(os.environ.get("FORGETFILTER_ALL_FAULTS"))
ALL = [(fault, stage) for stage in STAGES for fault in FAULTS]


def disturb(cluster: Any, fault: str, number: str, run: Path, wait_for: Callable[..., None]) -> None:
    """Does it, and what the operator then does to bring the job back."""
    if fault == "warning":  # as Slurm sends it ahead of the time limit; the job requeues itself
        cluster.call("scancel", "--batch", "--signal=USR1", number)
    elif fault == "preempted":  # by a job that goes first: Slurm tells the ranks, and gives them GraceTime
        options = ["--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=true"]
        cluster.completed(cluster.call("sbatch", "--parsable", *options))
    elif fault == "scancel":
        cluster.call("scancel", number)
        wait_for(lambda: cluster.job(number)["JobState"] == "CANCELLED")
        cluster.call("scontrol", "requeue", number)
    elif fault == "worker":  # a rank dies at once, as by the kernel when memory is short; the job requeues itself
        ranks = [pid for pid in cluster.processes("python", f" {run}") if b"RANK=1" in environment(pid)]
        os.kill(max(ranks), signal.SIGKILL)  # torchrun, its parent, has no RANK
    elif fault in ("node", "first-node"):  # slurmd and everything on it; Slurm requeues the job once it has noticed
        node = "node2" if fault == "node" else "node1"  # the first one runs the batch script
        daemons = cluster.processes(f"slurmd -f {cluster.folder}/", f"-N {node}")
        subprocess.run(["kill", "-KILL", *map(str, daemons)], check=True)
        wait_for(lambda: cluster.job(number)["JobState"] != "RUNNING")
        cluster.operate("start-node", node)
    else:  # Slurm ends the job as failed: it is put back by hand
        script = cluster.processes(f"{cluster.folder}/", f"/job{int(number):05d}/slurm_script")
        subprocess.run(["kill", "-KILL", *map(str, script)], check=True)
        wait_for(lambda: cluster.job(number)["JobState"] == "FAILED")
        cluster.call("scontrol", "requeue", number)


def environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def saved(folder: Path) -> set[tuple[str, int]]:
    """The shards by name and time of writing."""
    return {(str(path), path.stat().st_mtime_ns) for path in folder.rglob("part-*.parquet")}


@pytest.mark.parametrize(("fault", "stage"), ALL if EVERYTHING else CHOSEN)
def test_a_disturbed_stage_goes_on_and_ends_the_same(
    cluster: Any,
    config: Path,
    undisturbed: Path,
    before_stage: Callable[[str, str], Path],
    assert_same_outcome: Callable[[Path, Path], None],
    wait_for: Callable[..., None],
    judge: Any,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    stage: str,
) -> None:
    # It is disturbed after its first checkpoint or shard, which is still there at the end, so the stage resumed and did
    # not start anew. Kept ids, losses, answers and verdicts are those of the undisturbed run, every id is once in every
    # log, and all attempts of the stage are one W&B run.
    words, folder, then = STAGES[stage]
    name = f"{stage}-{fault}"
    run = before_stage(name, stage)
    settings = [f"name={name}", f"cache={run}/cache", "tracking.mode=offline"]
    monkeypatch.setattr(judge, "seconds", 0.5 if stage == "judge" else 0.0)
    judge.asked.clear()
    number = cluster.submit(config.parent, words[0], config.name, *words[1:], *settings)
    begun = run / "train" / words[-1] / "checkpoints" if words[0] == "train" else run / folder
    marker = "checkpoint-*/trainer_state.json" if words[0] == "train" else "*/part-*.parquet"
    wait_for(lambda: any(begun.glob(marker)))
    first_life = saved(run / folder)
    disturb(cluster, fault, number, run, wait_for)
    shown = cluster.completed(number)
    assert int(shown["Restarts"]) >= 1, Path(shown["StdOut"]).read_text()
    assert first_life & saved(run / folder)
    for follow in then:
        with pytest.raises(SystemExit) as end:
            cli.main([follow[0], str(config), *follow[1:], *settings, "tracking.mode=disabled"])
        assert end.value.code == 0
    assert_same_outcome(run, undisturbed)
    tracked = {path.name.split("-")[3] for path in run.glob("wandb/offline-run-*")}
    assert tracked == {run_id(run, "eval" if stage == "judge" else stage)}
    if stage == "judge":
        assert_judged_once(run, judge.asked, 0 if fault == "warning" else ROUND)


def assert_judged_once(run: Path, asked: list[bytes], most: int) -> None:
    """Each answer has one verdict, and at most `most` were asked for again: a round that was not finished."""
    keys = pl.read_parquet(run / "cache" / "verdicts" / "*" / "part-*.parquet")["key"]
    assert len(keys) == keys.n_unique() == len(set(asked)) > 3 * ROUND
    assert len(asked) - len(set(asked)) <= most


@pytest.mark.skipif(not EVERYTHING, reason="waits for real time limits; make test-slurm-full")
def test_a_pipeline_longer_than_its_time_limit_requeues_itself_until_it_is_done(
    cluster: Any, config: Path, undisturbed: Path, assert_same_outcome: Callable[[Path, Path], None]
) -> None:
    # It runs one minute at a time, and Slurm itself warns it at --signal before the limit: the outcome is the
    # undisturbed one.
    options = {"SBATCH_TIMELIMIT": "1", "SBATCH_SIGNAL": "B:USR1@25"}
    number = cluster.submit(config.parent, "run", str(config), "name=limited", **options)
    shown = cluster.completed(number, 600)
    assert int(shown["Restarts"]) >= 1, Path(shown["StdOut"]).read_text()
    assert_same_outcome(undisturbed.parent / "limited", undisturbed)
