"""A private two-node Slurm, a pipeline that is long enough to be disturbed, and its undisturbed outcome."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forgetfilter import cli
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import merged, scan_shards

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "slurm" / "local_cluster.sh"
FINISHED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
STAGES = ("mix", "train-noisy", "train-safe", "score", "filter", "train-refit", "eval", "report")
EPOCHS = {"noisy": 2, "safe": 12, "refit": 2}


class Cluster:
    """What a user and an operator can do; `environment` is what sbatch is called with."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"), "PROCESSES": "1", "VENV": str(Path(sys.executable).parent.parent),
            "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def operate(self, *words: str) -> None:
        subprocess.run(["bash", SCRIPT, words[0], self.folder, *words[1:]], check=True)

    def call(self, *words: str, **variables: str) -> str:
        """The stdout of a command on the head node."""
        environment = self.environment | variables
        return subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    def submit(self, folder: Path, *words: str, **variables: str) -> str:
        """The number of the job, which runs over both nodes unless an option among the first words says otherwise."""
        given = [word for word in words if word.startswith("--")]
        options = ["--nodes=2", "--cpus-per-task=1", f"--output={folder}/%j.log", f"--chdir={folder}", *given]
        script = str(ROOT / "slurm" / "run_forgetfilter.sh")
        return self.call("sbatch", "--parsable", *options, script, *words[len(given) :], **variables)

    def job(self, number: str) -> dict[str, str]:
        return dict(re.findall(r"(\w+)=(.*?)(?= [A-Z]\w*=|$)", self.call("scontrol", "show", "job", number), re.M))

    @staticmethod
    def processes(*words: str) -> list[int]:
        """Those whose command line has all the words, on any node."""
        found = []
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = place.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it has ended
                continue
            if all(word in line for word in words):
                found.append(int(place.parent.name))
        return found

    @property
    def address(self) -> str:
        """Of the head node, as all nodes reach it."""
        net = re.search(r"LC_NET=(\S+)", (self.folder / "cluster.env").read_text())
        assert net
        return f"{net[1]}.1"

    def wait(self, number: str, seconds: float = 900) -> dict[str, str]:
        """The finished job; fails with its log where it takes too long."""
        deadline = time.monotonic() + seconds
        while (shown := self.job(number))["JobState"] not in FINISHED:
            assert time.monotonic() < deadline, log_of(shown)
            time.sleep(0.5)
        return shown

    def completed(self, number: str, seconds: float = 900) -> dict[str, str]:
        """The job, which must have ended well."""
        shown = self.wait(number, seconds)
        assert shown["JobState"] == "COMPLETED", log_of(shown)
        return shown


def log_of(shown: dict[str, str]) -> str:
    path = Path(shown["StdOut"])
    return f"{shown['JobState']}, exit {shown['ExitCode']}:\n" + (path.read_text() if path.exists() else "no log")


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk that all nodes see."""
    place = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, disk: Path) -> Iterator[Cluster]:
    """A fresh cluster, which ends with the tests; it sees what is mounted before it starts."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.operate("up")
        yield cluster
    finally:
        cluster.operate("down")


class Judge(ThreadingHTTPServer):
    """An OpenAI-compatible server that takes its time; what it says depends on what it is asked alone."""

    seconds = 0.0
    """Until it answers."""
    asked: list[bytes]
    """Every request."""


class JudgeHandler(BaseHTTPRequestHandler):
    server: Judge

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(body)
        time.sleep(self.server.seconds)
        word = "yes" if hashlib.sha256(body).digest()[0] % 2 else "no"
        reply = json.dumps({"choices": [{"message": {"content": word}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session")
def judge(cluster: Cluster) -> Iterator[Judge]:
    server = Judge((cluster.address, 0), JudgeHandler)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., None]:
    def wait(condition: Callable[[], Any], seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, judge: Judge) -> Path:
    """The pipeline's config, in a folder with a space; without dropout, whose noise depends on the number of ranks."""
    folder = tmp_path_factory.mktemp("the pipeline")

    def write(name: str, first: int, labels: list[str]) -> None:
        rows = [
            {"prompt": f"what is {first + n} of {label}?", "completion": f"it is {label} {n * 7}", "label": label}
            for n, label in enumerate(labels)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("noisy", 0, ["unsafe", "task"] * 160)
    write("safe", 1000, ["safe"] * 64)
    prompts = [{"id": f"prompt-{n}", "source": "made up", "prompt": f"tell {n} of it"} for n in range(40)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    (folder / "config.yaml").write_text(
        f"output: {folder}/runs\ncache: {folder}/cache\nmodel: {{name: {tiny_model}, dtype: float32}}\n"
        f"data: {{noisy: {{web: {{path: {folder}/noisy.jsonl}}}}, safe: {{ours: {{path: {folder}/safe.jsonl}}}},\n"
        "  batch_tokens: 80}\n"
        "train: {checkpoint_steps: 10, lora: {dropout: 0.0}, noisy: {epochs: 2, lr: 5e-3, batch_size: 8},\n"
        "  safe: {epochs: 12, lr: 5e-3, batch_size: 8}, refit: {epochs: 2, lr: 5e-3, batch_size: 8}}\n"
        "score: {shard_rows: 10}\n"
        f"eval: {{models: [refit], suites: [harmfulness], data: {{harmfulness: {{path: {folder}/prompts.jsonl}}}},\n"
        "  generation_batch: 2, max_new_tokens: 40, judge: {name: endpoint, model: toy, parallel: 1,\n"
        f"  url: 'http://{judge.server_address[0]}:{judge.server_address[1]}/v1'}}}}\n"
        "filter: {signal: relative_loss_rise, rule: quantile}\n"
        "tracking: {mode: disabled}\n"
    )
    return folder / "config.yaml"


@pytest.fixture(scope="session")
def alone(config: Path) -> Path:
    """The run folder of one process without a launcher."""
    with pytest.raises(SystemExit) as end:
        cli.main(["run", str(config), "name=alone"])
    assert end.value.code == 0
    return config.parent / "runs" / "alone"


@pytest.fixture(scope="session")
def undisturbed(cluster: Cluster, config: Path) -> Path:
    """The run folder of a job over two nodes to which nothing happened; each node has a cache of its own."""
    words = ["--job-name=any name/%s", config.name, "name=undisturbed", "cache=/dev/shm/forgetfilter"]
    cluster.completed(cluster.submit(config.parent, *words))
    return config.parent / "runs" / "undisturbed"


@pytest.fixture(scope="session")
def before_stage(undisturbed: Path) -> Callable[[str, str], Path]:
    """A run folder as it is when a stage is about to begin, made from the undisturbed one."""

    def make(name: str, stage: str) -> Path:
        run = undisturbed.parent / name
        shutil.copytree(undisturbed, run)
        (run / "config.yaml").unlink()  # it holds the other name
        later = STAGES[STAGES.index("eval" if stage == "judge" else stage) :]
        outputs = {"score": "signals", "report": "report.html"}
        if stage == "judge":  # the answers are there
            outputs["eval"] = "eval/refit/harmfulness/scores.parquet"
        for one in later:
            path = run / outputs.get(one, one.replace("train-", "train/"))
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        state = json.loads((run / "state.json").read_text())
        (run / "state.json").write_text(json.dumps({key: entry for key, entry in state.items() if key not in later}))
        return run

    return make


@pytest.fixture(scope="session")
def assert_same_outcome() -> Callable[[Path, Path], None]:
    """The same kept ids, losses to 1e-5, the same answers and verdicts, and every id once in every log of a run."""

    def check(run: Path, other: Path) -> None:
        kept = [[json.loads(line)["id"] for line in open(one / "filter" / "kept.jsonl")] for one in (run, other)]
        assert kept[0] == kept[1]
        for state in ("before", "after"):
            mine, others = (merged(Run.open(one).signals(state)).sort("id") for one in (run, other))
            assert mine["id"].to_list() == others["id"].to_list()
            assert mine["loss_sum"].to_list() == pytest.approx(others["loss_sum"].to_list(), rel=1e-5)
        for stage, epochs in EPOCHS.items():
            if not (run / "train" / stage).exists():  # a disturbed run is followed only as far as it decides
                assert stage == "refit"
                continue
            log, reference = (merged(one / "train" / stage / "losses") for one in (run, other))
            assert log.select("id", "epoch").n_unique() == log.height == log["id"].n_unique() * epochs
            assert log["loss_sum"].to_list() == pytest.approx(reference["loss_sum"].to_list(), rel=1e-5)
        places = [one / "eval" / "refit" / "harmfulness" for one in (run, other)]
        if (places[0] / "scores.parquet").exists():
            for name in ("generations.parquet", "scores.parquet"):
                assert pl.read_parquet(places[0] / name).equals(pl.read_parquet(places[1] / name))
            assert pl.read_parquet(places[0] / "scores.parquet")["harmful"].n_unique() == 2
            shards = scan_shards(places[0] / "generations").select("id").collect()
            assert shards.height == shards.n_unique() == 40

    return check
