"""slurm/run_forgetfilter.sh on a real two-node Slurm, with real torchrun ranks over gloo and a tiny model."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forgetfilter import cli
from forgetfilter.runs import Run
from forgetfilter.shards import merged, scan_shards

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "tests" / "slurm" / "local_cluster.sh"
FINISHED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
VENV = Path(sys.executable).parent.parent


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which sbatch reaches a fresh cluster, which ends with the tests."""
    folder = tmp_path_factory.mktemp("cluster")
    subprocess.run(["bash", CLUSTER, "up", folder], check=True)
    yield os.environ | {
        "SLURM_CONF": str(folder / "slurm.conf"), "PROCESSES": "1", "VENV": str(VENV),
        "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    subprocess.run(["bash", CLUSTER, "down", folder], check=True)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A config of the street; without dropout, whose noise depends on the number of ranks."""
    folder = tmp_path_factory.mktemp("street")

    def rows(first: int, number: int, label: str) -> str:
        lines = [
            {"prompt": f"what is {n} of {label}?", "completion": f"it is {label} {n * 7}", "label": label}
            for n in range(first, first + number)
        ]
        return "".join(json.dumps(line) + "\n" for line in lines)

    (folder / "noisy.jsonl").write_text(rows(0, 12, "unsafe") + rows(0, 12, "task"))
    (folder / "safe.jsonl").write_text(rows(100, 8, "safe"))
    (folder / "config.yaml").write_text(
        f"output: {folder}/runs\ncache: {folder}/cache\nmodel: {{name: {tiny_model}, dtype: float32}}\n"
        f"data: {{noisy: {{web: {{path: {folder}/noisy.jsonl}}}}, safe: {{ours: {{path: {folder}/safe.jsonl}}}}}}\n"
        "train: {lora: {dropout: 0.0}, noisy: {epochs: 3, lr: 2e-2, batch_size: 4},\n"
        "  safe: {epochs: 2, lr: 2e-2, batch_size: 4}, refit: {epochs: 1, lr: 2e-2, batch_size: 4}}\n"
        "score: {batch_tokens: 200, shard_rows: 6}\n"
        "eval: {models: [refit], suites: []}\ntracking: {mode: disabled}\n"
    )
    return folder / "config.yaml"


@pytest.fixture(scope="module")
def alone(config: Path) -> Path:
    """The run folder of one process without a launcher."""
    with pytest.raises(SystemExit) as end:
        cli.main(["run", str(config), "name=alone"])
    assert end.value.code == 0
    return config.parent / "runs" / "alone"


def submit(cluster: dict[str, str], folder: Path, *words: str) -> str:
    options = ["--nodes=2", "--cpus-per-task=1", f"--output={folder}/%j.log", f"--chdir={folder}"]
    command = ["sbatch", "--parsable", *options, str(ROOT / "slurm" / "run_forgetfilter.sh"), *words]
    return subprocess.run(command, env=cluster, check=True, capture_output=True, text=True).stdout.strip()


def job(cluster: dict[str, str], number: str) -> dict[str, str]:
    shown = subprocess.run(
        ["scontrol", "show", "job", number], env=cluster, check=True, capture_output=True, text=True
    ).stdout
    return dict(re.findall(r"(\w+)=(\S*)", shown))


def wait(cluster: dict[str, str], number: str, seconds: float = 240) -> dict[str, str]:
    """The finished job; fails with its log's place where it takes too long."""
    deadline = time.monotonic() + seconds
    while (shown := job(cluster, number))["JobState"] not in FINISHED:
        assert time.monotonic() < deadline, Path(shown["StdOut"]).read_text()
        time.sleep(0.5)
    return shown


def wait_for(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def assert_same_outcome(run: Path, alone: Path) -> None:
    """The same kept ids, losses to 1e-5, and every id once in every log."""
    kept = [[json.loads(line)["id"] for line in open(folder / "filter" / "kept.jsonl")] for folder in (run, alone)]
    assert kept[0] == kept[1]
    for state in ("before", "after"):
        mine, other = (merged(Run.open(folder).signals(state)).sort("id") for folder in (run, alone))
        assert mine["id"].to_list() == other["id"].to_list()
        assert mine["loss_sum"].to_list() == pytest.approx(other["loss_sum"].to_list(), rel=1e-5)
    for stage, epochs in (("noisy", 3), ("safe", 2), ("refit", 1)):
        log = scan_shards(run / "train" / stage / "losses").select("id", "epoch").collect()
        assert log.unique().height == log.height == pl.Series(log["id"]).n_unique() * epochs


def test_the_street_over_two_nodes_equals_one_process(cluster: dict[str, str], config: Path, alone: Path) -> None:
    # Two nodes, a rank each: same kept ids, same losses; both ranks took part.
    number = submit(cluster, config.parent, str(config), "name=two")
    shown = wait(cluster, number)
    assert shown["JobState"] == "COMPLETED", Path(shown["StdOut"]).read_text()
    run = config.parent / "runs" / "two"
    assert_same_outcome(run, alone)
    assert json.loads((run / "state.json").read_text())["score"]["world_size"] == 2
    assert len(list((run / "signals" / "before").glob("rank=*"))) == 2


@pytest.mark.parametrize("stage", ["train-noisy", "train-refit"])
def test_a_warning_requeues_the_job_and_nothing_is_lost(
    cluster: dict[str, str], config: Path, alone: Path, stage: str
) -> None:
    # SIGUSR1 to the batch shell, as Slurm sends it ahead of the time limit: saved, 75, requeued, the same outcome.
    number = submit(cluster, config.parent, str(config), f"name=warned-{stage}")
    run = config.parent / "runs" / f"warned-{stage}"
    state = run / "state.json"
    wait_for(lambda: state.exists() and json.loads(state.read_text()).get(stage, {}).get("status") == "running")
    subprocess.run(["scancel", "--batch", "--signal=USR1", number], env=cluster, check=True)
    shown = wait(cluster, number)
    log = Path(shown["StdOut"]).read_text()
    assert shown["JobState"] == "COMPLETED", log
    assert shown["Restarts"] == "1", log
    assert_same_outcome(run, alone)


def test_a_killed_rank_is_lost_work_not_a_lost_run(cluster: dict[str, str], config: Path, alone: Path) -> None:
    # kill -9 of one rank while it trains: the job requeues itself and ends as if nothing had happened.
    name = "killed"
    number = submit(cluster, config.parent, str(config), f"name={name}", "train.checkpoint_steps=2")
    pattern = f"forgetfilter.train.__main__ {config.parent}/runs/{name} noisy"

    def ranks() -> list[str]:
        found = subprocess.run(["pgrep", "-f", f"^[^ ]*python[^ ]* .*{pattern}"], capture_output=True, text=True)
        return [pid for pid in found.stdout.split() if b"torchrun" not in Path(f"/proc/{pid}/cmdline").read_bytes()]

    wait_for(lambda: len(ranks()) >= 2)
    subprocess.run(["kill", "-KILL", ranks()[-1]], check=True)
    shown = wait(cluster, number)
    log = Path(shown["StdOut"]).read_text()
    assert shown["JobState"] == "COMPLETED", log
    assert shown["Restarts"] == "1", log
    assert_same_outcome(config.parent / "runs" / name, alone)


def test_a_missing_config_ends_the_job_with_one_line(cluster: dict[str, str], tmp_path: Path) -> None:
    # Within its first seconds, exit 2.
    shown = wait(cluster, submit(cluster, tmp_path, "absent.yaml"), 30)
    assert shown["JobState"] == "FAILED" and shown["ExitCode"] == "2:0"
    assert "forgetfilter: absent.yaml is missing" in Path(shown["StdOut"]).read_text()


def test_a_node_without_the_installation_says_so(cluster: dict[str, str], config: Path, tmp_path: Path) -> None:
    # Before any rank is started.
    shown = wait(cluster, submit(cluster | {"VENV": "/nowhere"}, tmp_path, str(config)), 30)
    assert shown["ExitCode"] == "2:0"
    assert "has no /nowhere/bin/torchrun" in Path(shown["StdOut"]).read_text()


def test_slurm_accepts_the_script_with_gpus(cluster: dict[str, str], config: Path) -> None:
    # sbatch --test-only, with the flags of a GPU site.
    command = ["sbatch", "--test-only", "--nodes=2", "--gpus-per-node=2", "slurm/run_forgetfilter.sh", str(config)]
    subprocess.run(command, env=cluster, cwd=ROOT, check=True, capture_output=True)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_the_scripts_pass_shellcheck() -> None:
    # No finding at all.
    scripts = [str(path) for path in (ROOT / "slurm").glob("*.sh")]
    subprocess.run(["shellcheck", *scripts], check=True)
