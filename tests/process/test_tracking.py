import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from wandb_files import Kept

from forgetfilter.config.schema import TrackingConfig
from forgetfilter.errors import UserError
from forgetfilter.process import weights_and_biases
from forgetfilter.process.tracked_run import Artifact, Origin
from forgetfilter.process.tracking import Tracker, check, tracked
from forgetfilter.process.weights_and_biases import WandbRun, mode, run_id, unreachable


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DISABLED", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


class ToyRun:
    def __init__(self) -> None:
        self.rows: list[tuple[dict[str, Any], int | None]] = []

    def log(self, values: dict[str, Any], step: int | None) -> None:
        self.rows.append((values, step))


def test_auto_is_offline_without_a_key_and_online_with_one(monkeypatch: pytest.MonkeyPatch, no_key: Path) -> None:
    # The key comes from the environment or from netrc, where another host's entry does not count.
    assert mode("auto") == "offline" and mode("disabled") == "disabled"
    no_key.write_text("machine example.org login x password y\n")
    assert mode("auto") == "offline"
    no_key.write_text("machine api.wandb.ai login x password y\n")
    assert mode("auto") == "online"
    no_key.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "k")
    assert mode("auto") == "online"


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("WANDB_MODE", "offline", "offline"), ("WANDB_MODE", "disabled", "disabled"), ("WANDB_MODE", "online", "online"),
    ("WANDB_MODE", "dryrun", "offline"), ("WANDB_DISABLED", "true", "disabled"), ("WANDB_DISABLED", "false", "online"),
])  # fmt: skip
def test_auto_leaves_the_environment_its_say(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    # W&B's variables count even with a key. A mode that the config names is used whatever the environment says.
    monkeypatch.setenv("WANDB_API_KEY", "k")
    monkeypatch.setenv(name, value)
    assert mode("auto") == expected and mode("online") == "online"


def test_a_server_that_is_not_there_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # It is known at once if nobody listens. A server, or a proxy before it, that listens is fine.
    with socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as server:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert "refused" in str(unreachable(5))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert unreachable(5) is None


def test_a_server_that_does_not_answer_has_the_run_kept_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A server that takes no connection and refuses none, as behind a firewall, is given up after the limit; one line
    # says so, and what is logged is kept for wandb sync.
    with socket.socket() as silent, socket.socket() as first:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)  # one connection waits to be accepted, and further ones get no answer
        first.connect(silent.getsockname())
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        run = WandbRun(TrackingConfig("online"), "online", Origin(tmp_path, "score", {}, {}, ()), reach=0.2)
    run.log({"loss": 1.0}, step=1)
    run.finish()
    kept = f"kept offline in {tmp_path / 'wandb'}, for wandb sync"
    said = " ".join(capsys.readouterr().err.split())
    assert said == f"W&B is not reachable (no answer from 127.0.0.1 in 0.2 s): {kept}"
    assert not run.online and [row["loss"] for row in Kept(tmp_path, "score").history] == [1.0]


def test_a_folder_made_anew_is_a_new_run(tmp_path: Path) -> None:
    # The name of a deleted folder alone does not continue its run. A folder that an older version tracked, without an
    # id of its own, goes on.
    first = run_id(tmp_path / "run", "eval")
    assert run_id(tmp_path / "run", "eval") == first
    shutil.rmtree(tmp_path / "run")
    assert run_id(tmp_path / "run", "eval") != first
    (tmp_path / "old" / "wandb").mkdir(parents=True)
    old = hashlib.sha256(f"{(tmp_path / 'old').resolve()}\neval".encode()).hexdigest()[:16]
    assert run_id(tmp_path / "old", "eval") == old


def test_disabled_and_other_ranks_never_import_wandb(tmp_path: Path) -> None:
    # In a fresh process the module is not loaded, and nothing is written.
    code = (
        "import os, sys; from pathlib import Path; from forgetfilter.config.schema import TrackingConfig as T\n"
        "from forgetfilter.process.tracking import tracked\n"
        "for rank, mode in (('0', 'disabled'), ('1', 'offline')):\n"
        "    os.environ['RANK'] = rank\n"
        "    with tracked(T(mode), Path(sys.argv[1]), 'train', {}) as tracker: tracker.log({'loss': 1.0})\n"
        "print('wandb' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False" and list(tmp_path.iterdir()) == []


def test_the_id_is_of_run_and_stage(tmp_path: Path) -> None:
    # It is the same after each restart, and another one for another stage or run.
    assert run_id(tmp_path, "score") == run_id(tmp_path / "x" / "..", "score")
    assert len({run_id(tmp_path, "score"), run_id(tmp_path, "eval"), run_id(tmp_path / "x", "score")}) == 3


def test_missing_values_are_not_logged() -> None:
    # None means "not measured", which W&B would show as the end of a curve.
    run = ToyRun()
    Tracker(run).log({"loss": 1.0, "lr": None}, step=3)
    assert run.rows == [({"loss": 1.0}, 3)]


def test_a_restart_goes_on_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # wandb.init gets the same id, group and stage both times and may resume; if it fails, the training goes on.
    import wandb

    given: list[dict[str, Any]] = []

    def init(settings: wandb.Settings, **options: Any) -> Any:
        given.append(options)
        raise OSError

    monkeypatch.setattr(wandb, "init", init)
    for _ in range(2):
        with tracked(TrackingConfig("offline"), tmp_path, "train-noisy", {"seed": 0}) as tracker:
            tracker.log({"loss": 1.0})
    assert json.dumps(given[0]) == json.dumps(given[1])
    assert (given[0]["id"], given[0]["resume"]) == (run_id(tmp_path, "train-noisy"), "allow")
    assert (given[0]["group"], given[0]["job_type"]) == (tmp_path.name, "train-noisy")


def test_offline_parts_of_a_requeued_stage_are_one_run(tmp_path: Path) -> None:
    # Real W&B runs offline in two processes, as before and after a requeue. It leaves two folders whose names have the
    # same id, by which `wandb sync` joins them; where both began in one second a number stands behind the second's.
    code = (
        "import sys; from pathlib import Path; from forgetfilter.config.schema import TrackingConfig as T\n"
        "from forgetfilter.process.tracking import tracked\n"
        "with tracked(T('offline'), Path(sys.argv[1]), 'train-noisy', {}) as tracker:\n"
        "    tracker.log({'loss': 1.0}, step=int(sys.argv[2]))\n"
    )
    for step in ("1", "2"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path), step], check=True, capture_output=True)
    parts = [path.name for path in (tmp_path / "wandb").glob("offline-run-*")]
    assert len(parts) == 2 and all(run_id(tmp_path, "train-noisy") in name.split("-") for name in parts)
    folders = [str(path) for path in (tmp_path / "wandb").glob("offline-run-*")]
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", "--yes", *folders]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(name in told.stdout + told.stderr for name in parts)


class Refusing(http.server.BaseHTTPRequestHandler):
    """A server that is there, and has no right for us."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = b'{"errors": [{"message": "permission denied"}]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST  # noqa: N815

    def log_message(self, *words: Any) -> None:
        """Says nothing."""


def test_a_server_that_takes_no_run_has_it_kept_offline(tmp_path: Path) -> None:
    # The server is reachable but gives no right to the project: one line says why, and nothing that was logged is lost.
    code = (
        "import sys; from pathlib import Path; from forgetfilter.config.schema import TrackingConfig as T\n"
        "from forgetfilter.process.tracking import tracked\n"
        "with tracked(T('online'), Path(sys.argv[1]), 'train-noisy', {}) as tracker:\n"
        "    tracker.log({'loss': 1.0}, step=1)\n"
        "    print(tracker.run is not None)\n"
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
        own |= {"WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}", "WANDB_API_KEY": "a" * 40}
        command = [sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=own)
        server.shutdown()
    assert done.stdout == "True\n", done.stderr
    assert "W&B takes no run" in done.stderr and "permission denied" in done.stderr and "Traceback" not in done.stderr
    assert len([*(tmp_path / "wandb").glob("offline-run-*")]) == 1


def test_a_table_goes_to_an_offline_run(tmp_path: Path) -> None:
    # A real W&B run without a network has the table in its files, with None as an empty cell; without a run nothing
    # happens.
    with tracked(TrackingConfig("offline"), tmp_path, "eval", {}) as tracker:
        tracker.table("metrics", ("suite", "value"), [("bias", 0.25), ("task", None)])
    (file,) = tmp_path.rglob("*.table.json")
    assert json.loads(file.read_text())["data"] == [["bias", 0.25], ["task", None]]
    Tracker().table("metrics", ("suite",), [("bias",)])


def test_a_killed_tracker_costs_one_line(tmp_path: Path) -> None:
    # When Slurm preempts a job, W&B's own process gets the signal too and dies. The work goes on to its end with exit
    # code 0, one line and no traceback, also at Python's end.
    code = (
        "import psutil, sys, time; from pathlib import Path\n"
        "from forgetfilter.config.schema import TrackingConfig as T\n"
        "from forgetfilter.process.tracking import tracked\n"
        "with tracked(T('offline'), Path(sys.argv[1]), 'train-noisy', {}) as tracker:\n"
        "    tracker.log({'loss': 1.0}, step=1)\n"
        "    core, = [one for one in psutil.Process().children(recursive=True) if 'wandb-core' in one.name()]\n"
        "    core.terminate()\n"
        "    core.wait(60)\n"
        "    for step in range(2, 1000):\n"
        "        tracker.log({'loss': 1.0}, step=step)\n"
        "        if tracker.run is None: break\n"
        "        time.sleep(0.05)\n"
        "    print('done', tracker.run)\n"
    )
    own = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}  # not that of these tests
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=own)
    assert (done.returncode, done.stdout) == (0, "done None\n"), done.stderr
    assert len(done.stderr.splitlines()) == 1 and "going on without it" in done.stderr


def test_the_address_of_an_online_run_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # An online run's URL is shown once, and what it used is linked to it.
    import wandb

    class Online:
        url, config = "https://wandb.example/me/p/runs/1", SimpleNamespace(update=lambda values, **_: None)
        used, made = list[Any](), list[Any]()
        use_artifact, log_artifact = used.append, made.append
        finish = staticmethod(lambda: None)

    monkeypatch.setattr(weights_and_biases, "unreachable", lambda seconds: None)
    monkeypatch.setattr(wandb, "init", lambda **_: Online())
    (tmp_path / "data.jsonl").write_text("{}")
    with tracked(TrackingConfig("online"), tmp_path, "score", {}) as tracker:
        tracker.lineage([Artifact("data", "dataset", {"data.jsonl": tmp_path / "data.jsonl"})], [])
    assert capsys.readouterr().err.splitlines() == [f"W&B: {Online.url}"]
    assert [one.name for one in Online.used] == [f"{tmp_path.name}-data"] and not Online.made


@pytest.mark.parametrize("upload", [False, True])
def test_files_leave_the_machine_only_where_that_is_asked_for(tmp_path: Path, upload: bool) -> None:
    # An artifact holds the place and size of a file, and with tracking.upload a copy that W&B will send.
    (tmp_path / "a[1] data.jsonl").write_text("a row of theirs")
    artifact = Artifact("data", "dataset", {"data/noisy.jsonl": tmp_path / "a[1] data.jsonl"})
    with tracked(TrackingConfig("offline", upload=upload), tmp_path, "score", {}) as tracker:
        tracker.lineage([], [artifact])
    (files,) = Kept(tmp_path, "score").artifacts.values()
    assert files["data/noisy.jsonl"] == ("" if upload else (tmp_path / "a[1] data.jsonl").as_uri(), 15)


def test_what_cannot_be_told_ends_the_tracking_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A table that cannot be made costs one line; the stage goes on, and without a run an error stays an error.
    with tracked(TrackingConfig("offline"), tmp_path, "score", {}) as tracker:
        with tracker.or_without():
            raise ValueError("no such column")
        assert tracker.run is None
    assert capsys.readouterr().err == "W&B failed, going on without it: no such column\n"
    with pytest.raises(ValueError), tracker.or_without():
        raise ValueError("ours")


def test_tracking_that_has_ended_within_costs_nothing_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first failure is told in one line; what fails after it in the same telling is of no more interest.
    with tracked(TrackingConfig("offline"), tmp_path, "score", {}) as tracker, tracker.or_without():
        monkeypatch.setattr(tracker.run, "log", lambda *given: {}["first"])
        tracker.log({"loss": 1.0})
        assert tracker.run is None
        raise ValueError("second")
    assert capsys.readouterr().err == "W&B failed, going on without it: 'first'\n"


def test_a_file_that_is_written_again_is_another_version(tmp_path: Path) -> None:
    # The digest of an artifact by reference is of place, size and time, so no content of a large model is read for it.
    pytest.importorskip("wandb")
    from forgetfilter.process.weights_and_biases import digest_of

    file = tmp_path / "model.safetensors"
    file.write_text("one")
    first = digest_of(file)
    assert digest_of(file) == first
    file.write_text("two")
    os.utime(file, ns=(1, 1))
    assert digest_of(file) != first


def test_tensorboard_has_the_same_curves(tmp_path: Path) -> None:
    # Its files, read by its own reader, have the curves, the histogram and the table. None is left out.
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tracked(TrackingConfig(backend="tensorboard"), tmp_path, "train-noisy", {"seed": 0}) as tracker:
        tracker.log({"loss": 1.5, "lr": None}, step=3)
        tracker.table("metrics", ("suite", "value"), [("bias", None)])
        tracker.histogram("scores", np.array([1.0, 2.0, np.nan]))
        tracker.lineage([], [])
    read = EventAccumulator(str(tmp_path / "tensorboard" / "train-noisy"))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(3, 1.5)]
    assert read.Tags()["scalars"] == ["loss"] and read.Histograms("scores")[0].histogram_value.num == 2
    assert {"settings/text_summary", "metrics/text_summary"} <= set(read.Tags()["tensors"])


def test_a_backend_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # TensorBoard is asked for by name, so its absence is told before anything is trained; `none` and a disabled
    # tracking ask for nothing.
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"tracking\.backend: tensorboard is not installed"):
        check(TrackingConfig(backend="tensorboard"))
    check(TrackingConfig("disabled", backend="tensorboard"))
    with tracked(TrackingConfig("offline", backend="none"), tmp_path, "score", {}) as tracker:
        assert tracker.run is None
    assert not [*tmp_path.iterdir()]
