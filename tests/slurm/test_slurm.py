"""The scripts of slurm/ on a real two-node Slurm, with real torchrun ranks over gloo and a tiny model."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from forgetfilter.filter.texts.column_shards import BLOCK_ROWS

from forgetfilter import cli
from forgetfilter.config.schema import Config, DataConfig, SourceConfig
from forgetfilter.data.records import make_records, write_records
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import COMPARABLE, LOSS_SCHEMA, shard_path, shard_paths, write_manifest, write_shard

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("a letter", "some bread", "the garden", "her song", "his coat", "our road", "no reply")


def test_the_pipeline_over_two_nodes_equals_one_process(
    undisturbed: Path, alone: Path, assert_same_outcome: Callable[[Path, Path], None]
) -> None:
    # Two nodes with one rank each give the same kept ids, losses and answers, and both ranks took part.
    assert_same_outcome(undisturbed, alone)
    assert json.loads((undisturbed / "state.json").read_text())["score"]["world_size"] == 2
    assert len(list((undisturbed / "signals" / "before").glob("rank=*"))) == 2
    first, second = (
        [path.read_text() for path in undisturbed.parents[1].glob(f"logs/any name-%s-*-{node}-0.log")]
        for node in ("node1", "node2")
    )
    assert any("train noisy" in text for text in first) and len(second) == len(first)


def script(cluster: Any, name: str, folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A script of slurm/ as called by a user in `folder`, who has one node for each job."""
    options = {
        "TRAIN": "--nodes=1 --cpus-per-task=1",
        "SMALL": "--nodes=1",
        "MEMBER": "--nodes=1",
        "GATHER": "--nodes=1",
    }
    environment = cluster.environment | options | variables
    command = [str(ROOT / "slurm" / name), *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


def jobs_of(said: str) -> list[str]:
    return re.findall(r"job (\d+)$", said, re.MULTILINE)


def test_the_pipeline_as_a_chain_of_jobs(
    cluster: Any,
    config: Path,
    undisturbed: Path,
    tmp_path: Path,
    wait_for: Callable[..., None],
    assert_same_outcome: Callable[[Path, Path], None],
) -> None:
    # There are seven jobs, each after the one before. The first training is warned and requeues itself, which breaks no
    # dependency. Filter and report are jobs of one task. The outcome is that of one job over two nodes.
    done = script(cluster, "submit.sh", tmp_path, str(config), "name=chain", "tracking.project=two words")
    jobs = jobs_of(done.stdout)
    assert len(jobs) == 7, done.stderr
    run = undisturbed.parent / "chain"
    wait_for(lambda: any((run / "train" / "noisy" / "checkpoints").glob("checkpoint-*/trainer_state.json")))
    assert cluster.job(jobs[2])["Dependency"].startswith(f"afterok:{jobs[1]}")
    cluster.call("scancel", "--batch", "--signal=USR1", jobs[1])
    shown = [cluster.completed(job) for job in jobs]
    assert [one["Restarts"] for one in shown] == ["0", "1", "0", "0", "0", "0", "0"]
    assert_same_outcome(run, undisturbed)
    assert (run / "report.html").exists() and "project: two words" in (run / "config.yaml").read_text()


def test_a_failed_job_takes_the_rest_of_the_chain_out_of_the_queue(cluster: Any, config: Path, tmp_path: Path) -> None:
    # The first job finds that the model is missing, and nothing stays pending for ever.
    jobs = jobs_of(script(cluster, "submit.sh", tmp_path, str(config), "name=broken", "model.name=/absent").stdout)
    states = [cluster.wait(job, 90)["JobState"] for job in jobs]
    assert states == ["FAILED"] + ["CANCELLED"] * 6


@pytest.mark.parametrize("name", ["submit.sh", "scale.sh", "compare.sh"])
def test_a_mistake_is_told_before_anything_is_queued(cluster: Any, config: Path, tmp_path: Path, name: str) -> None:
    # A wrong key or a missing file gives exit code 2 and one line; --dry-run prints what would be called. The queue
    # stays empty.
    study = "scale.models=[a,b]"
    for words, line in (((str(config), study, "sed=1"), "Did you mean: 'seed'?"), (("absent.yaml",), "is missing")):
        done = script(cluster, name, tmp_path, *words)
        assert done.returncode == 2 and line in done.stderr and len(done.stderr.splitlines()) == 1
    done = script(cluster, name, tmp_path, "--dry-run", str(config), study)
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0 and len(lines) == {"submit.sh": 7, "scale.sh": 2, "compare.sh": 3}[name]
    assert all(line.startswith("sbatch ") for line in lines if line != "JOB")
    assert cluster.call("squeue", "--noheader") == ""


def test_a_study_runs_again_only_what_failed(cluster: Any, config: Path, tiny_model: Path, tmp_path: Path) -> None:
    # An array runs over two models, one of them broken. The last job gathers what there is and says that it is not all.
    # Once the model is mended, the same command is an array of that member alone.
    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    (broken / "config.json").rename(tmp_path / "kept.json")
    words = [str(config), "name=study", f"scale.models=[{tiny_model},{broken}]"]
    words += [f"train.{stage}.epochs=1" for stage in ("noisy", "safe", "refit")]
    members, last = jobs_of(script(cluster, "scale.sh", tmp_path, *words).stdout)
    again = script(cluster, "scale.sh", tmp_path, *words)
    assert again.returncode == 2 and "ff-scale-study is still in the queue" in again.stderr
    assert cluster.wait(last)["ExitCode"] == "2:0"
    study = config.parent / "runs" / "study-scale"
    gathered = json.loads((study / "scale.json").read_text())
    assert [row["status"] for row in gathered["rows"]] == ["done", "pending"]
    assert 0 <= gathered["rows"][0]["auroc"] <= 1

    (tmp_path / "kept.json").rename(broken / "config.json")
    done = script(cluster, "scale.sh", tmp_path, *words)
    assert done.stdout.startswith("members 1: job")
    cluster.completed(jobs_of(done.stdout)[-1])
    assert json.loads((study / "scale.json").read_text())["missing"] == []
    logs = sorted(path.name for path in tmp_path.glob("ff-scale-study-*-*.log"))
    assert logs[:2] == [f"ff-scale-study-{members}-{member}.log" for member in (0, 1)] and len(logs) == 3


def test_a_missing_config_ends_the_job_with_one_line(cluster: Any, tmp_path: Path) -> None:
    # It ends within its first seconds, with exit code 2.
    shown = cluster.wait(cluster.submit(tmp_path, "absent.yaml"), 60)
    assert shown["JobState"] == "FAILED" and shown["ExitCode"] == "2:0"
    assert "forgetfilter: absent.yaml is missing" in Path(shown["StdOut"]).read_text()


def test_a_stopped_job_requeues_itself_no_more_often_than_it_may(
    cluster: Any,
    config: Path,
    undisturbed: Path,
    wait_for: Callable[..., None],
    assert_same_outcome: Callable[[Path, Path], None],
) -> None:
    # SIGTERM saves as SIGUSR1 does. With no requeue left the job ends with 75. The same submission resumes, here on one
    # node, where the only rank is killed, which requeues it too. It ends like the undisturbed run.
    run = undisturbed.parent / "limited-requeues"
    number = cluster.submit(config.parent, str(config), f"name={run.name}", MAX_REQUEUES="0")
    wait_for(lambda: any((run / "train" / "noisy" / "checkpoints").glob("checkpoint-*/trainer_state.json")))
    cluster.call("scancel", "--batch", "--signal=TERM", number)
    shown = cluster.wait(number)
    assert (shown["JobState"], shown["ExitCode"], shown["Restarts"]) == ("FAILED", "75:0", "0")

    kept = "--export=PATH,SLURM_CONF,VENV,PROCESSES,HF_HUB_OFFLINE,OMP_NUM_THREADS"  # as some sites want it: not all
    number = cluster.submit(config.parent, "--nodes=1", kept, str(config), f"name={run.name}")
    wait_for(lambda: any((run / "train" / "safe" / "checkpoints").glob("checkpoint-*/trainer_state.json")))
    (rank,) = cluster.processes("bin/forgetfilter run", f"name={run.name}")
    os.kill(rank, signal.SIGKILL)
    assert cluster.completed(number)["Restarts"] == "1"
    assert_same_outcome(run, undisturbed)


@pytest.mark.parametrize(("option", "ranks"), [("--gpus-per-node=2", 2), ("--cpus-per-task=1", 3)])
def test_a_node_has_as_many_ranks_as_gpus(cluster: Any, config: Path, tmp_path: Path, option: str, ranks: int) -> None:
    # They are the GPUs that Slurm gave the job or, on a cluster whose Slurm knows of none, those that the node shows.
    (tmp_path / "nvidia-smi").write_text("#!/bin/bash\nprintf 'GPU %s\\n' 0 1 2\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    search = f"{tmp_path}:{os.environ['PATH']}"
    words = ["mix", str(config), f"name=gpus-{ranks}", f"output={tmp_path}/runs"]
    cluster.completed(cluster.submit(tmp_path, "--nodes=1", option, *words, PROCESSES="", PATH=search), 60)
    assert f"processes: {ranks}\n" in (tmp_path / "runs" / f"gpus-{ranks}" / "config.yaml").read_text()


def test_texts_are_read_by_the_ranks_of_all_nodes(cluster: Any, tmp_path: Path) -> None:
    # There are more rows than a block holds, so each node has a block. The clusters and the decision are those of one
    # process.
    nodes = made_up_run(tmp_path / "nodes", rows=BLOCK_ROWS + 50)
    alone = shutil.copytree(nodes, tmp_path / "alone")
    words = ["filter.signal=pooled_rise", "filter.rule=quantile"]
    number = cluster.submit(tmp_path, "filter", str(nodes), *words)
    cluster.completed(number)
    logs = [tmp_path / "logs" / f"forgetfilter-{number}-node{node}-0.log" for node in (1, 2)]
    assert "read texts: 1 of 1" in "".join(path.read_text() for path in logs)  # the first rank; it had no more
    with pytest.raises(SystemExit) as end:
        cli.main(["filter", str(alone), *words])
    assert end.value.code == 0
    shards = shard_paths(nodes / "signals" / "texts" / "cluster")
    assert len(shards) == 2
    for path in (*shards, nodes / "filter" / "decisions.parquet"):
        assert pl.read_parquet(path).equals(pl.read_parquet(alone / path.relative_to(nodes)))


def made_up_run(folder: Path, rows: int) -> Path:
    """A run that was scored, without a model: short texts, and losses that follow from their numbers."""
    given = DataConfig(**{name: {"made-up": SourceConfig(path="none")} for name in ("noisy", "safe")})
    run = Run(folder, Config(name=folder.name, output=str(folder.parent), data=given))
    run.write_config()
    examples = [([{"role": "assistant", "content": f"{WORDS[n % 7]} {n}"}], "web", None) for n in range(rows)]
    records = list(make_records(examples))
    write_records(run.noisy_data, records)
    for state, rise in (("before", 0.0), ("after", 1.0)):
        loss = [1.0 + rise * (n * 37 % 101) / 101 for n in range(rows)]
        numbers = {"num_tokens": [1] * rows, "loss_sum": loss} | {
            name: [0] * rows for name in ("rank", "step", "epoch")
        }
        table = pa.table({"id": [one.id for one in records], "source": ["web"] * rows} | numbers)
        write_shard(shard_path(run.signals(state), 0, 0), table.cast(LOSS_SCHEMA))
        write_manifest(run.signals(state), dict.fromkeys(COMPARABLE, "same"))
    for stage in ("mix", "score"):
        with run.stage(stage, "made up", 1):
            pass
    return folder


@pytest.mark.skipif(not os.environ.get("FORGETFILTER_ALL_FAULTS"), reason="fills a disk; make test-slurm-full")
def test_a_full_disk_ends_the_job_with_one_line(
    cluster: Any,
    config: Path,
    disk: Path,
    undisturbed: Path,
    before_stage: Callable[[str, str], Path],
    assert_same_outcome: Callable[[Path, Path], None],
) -> None:
    # It fills while two nodes score: the job ends with exit code 2 and no requeue, and every file is whole. With room
    # the same submission resumes and ends like the undisturbed run. A folder that cannot be made is reported in the
    # same way.
    run = shutil.copytree(before_stage("full", "score"), disk / "full")
    words = ["score", str(config), "name=full", f"output={disk}"]
    room = os.statvfs(disk)
    used = (room.f_blocks - room.f_bfree) * room.f_frsize
    remount(disk, used + 24 * room.f_frsize)
    shown = cluster.wait(cluster.submit(config.parent, *words))
    assert (shown["ExitCode"], shown["Restarts"]) == ("2:0", "0")
    told = lines_of(shown)
    assert len(told) == 1 and "cannot be written" in told[0] and "No space left on device" in told[0], told
    assert (run / "signals" / "before").exists()  # the ranks had begun
    remount(disk, used + 2**26)
    cluster.completed(cluster.submit(config.parent, *words))
    with pytest.raises(SystemExit) as end:
        cli.main(["filter", *words[1:]])
    assert end.value.code == 0
    assert_same_outcome(run, undisturbed)

    shown = cluster.wait(cluster.submit(config.parent, *words[:-1], "output=/proc/runs"), 60)
    assert shown["ExitCode"] == "2:0" and len(lines_of(shown)) == 1 and "/proc/runs" in lines_of(shown)[0]


def remount(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def lines_of(shown: dict[str, str]) -> list[str]:
    """What the job tells its user."""
    return [line for line in Path(shown["StdOut"]).read_text().splitlines() if line.startswith("forgetfilter: ")]


def test_a_node_without_the_installation_says_so(cluster: Any, config: Path, tmp_path: Path) -> None:
    # It says so before any rank is started.
    shown = cluster.wait(cluster.submit(tmp_path, str(config), VENV="/nowhere"), 60)
    assert shown["ExitCode"] == "2:0"
    assert "has no /nowhere/bin/torchrun" in Path(shown["StdOut"]).read_text()


def test_a_launch_that_srun_refuses_at_first_is_tried_again(cluster: Any, config: Path, tmp_path: Path) -> None:
    # An srun fails once, as on a node that has just come back, and then is the real one. The job's last line is about
    # the installation, for which no failure of srun may be taken.
    real = shutil.which("srun")
    tried = tmp_path / "tried"
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "srun"
    fake.write_text(
        f'#!/bin/bash\n[ -e {tried} ] || {{ touch {tried}; echo "srun: refused" >&2; exit 1; }}\nexec {real} "$@"\n'
    )
    fake.chmod(0o755)
    path = f"{fake.parent}:{os.environ['PATH']}"
    shown = cluster.wait(cluster.submit(tmp_path, str(config), VENV="/nowhere", PATH=path), 60)
    said = Path(shown["StdOut"]).read_text()
    assert shown["ExitCode"] == "2:0"
    assert "srun: refused" in said
    assert "has no /nowhere/bin/torchrun" in said


@pytest.mark.parametrize("name", ["run_forgetfilter.sh", "submit.sh", "scale.sh", "compare.sh"])
def test_slurm_accepts_the_scripts_with_gpus(cluster: Any, config: Path, tmp_path: Path, name: str) -> None:
    # sbatch --test-only accepts every command line that a script makes, with the flags of a GPU site.
    gpus = "--nodes=2 --gpus-per-node=2 --cpus-per-task=1"
    lines = [f"sbatch {gpus} {ROOT}/slurm/{name} {config}"]
    if name != "run_forgetfilter.sh":
        study = "scale.models=[a,b]"
        dry = script(cluster, name, tmp_path, "--dry-run", str(config), study, TRAIN=gpus, MEMBER=gpus)
        lines = [line for line in (dry.stdout + dry.stderr).splitlines() if line != "JOB"]
    for line in lines:
        words = [word for word in shlex.split(line)[1:] if not word.startswith("--dependency=")]
        done = subprocess.run(
            ["sbatch", "--test-only", *words], env=cluster.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_the_scripts_pass_shellcheck(cluster: Any) -> None:
    # There is no finding, in the scripts and in those that test them.
    scripts = [*(ROOT / "slurm").glob("*.sh"), *(ROOT / "tests" / "slurm").glob("*.sh"), ROOT / ".ci" / "run"]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
