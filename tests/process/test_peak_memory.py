"""Peak memory of a stage."""

import subprocess
import sys
from pathlib import Path

import pytest

from forgetfilter.config.schema import Config, DataConfig, SourceConfig
from forgetfilter.errors import UserError
from forgetfilter.files import write_json
from forgetfilter.process.launch import launch
from forgetfilter.process.passes import leave_measures, measured
from forgetfilter.storage.run_folder import Run

MB = 1_000_000


WORK = f"""
import pathlib, sys
from forgetfilter.process.passes import measured, start_measures
folder = pathlib.Path(sys.argv[1])
b"x" * {400 * MB}
start_measures(folder)
before = measured(folder)["memory_gb"]
b"x" * {300 * MB}
print(measured(folder)["memory_gb"] - before)
"""

RANK = """
import pathlib, sys
from forgetfilter.process.distributed import process_group
from forgetfilter.process.exit_codes import exit_code_of
from forgetfilter.process.passes import count_batch, leave_measures
from forgetfilter.process.progress import progress
def main():
    with process_group() as world:
        with progress("toy", 2) as meter:
            count_batch(3 + world.rank, 5)
            meter.advance(2, tokens=7)
        b"x" * (int(sys.argv[2]) * world.rank)
        leave_measures(pathlib.Path(sys.argv[1]))
raise SystemExit(exit_code_of(main))
"""


def test_a_peak_is_that_of_the_work_since_the_start(tmp_path: Path) -> None:
    # Memory that was used and given back before a stage does not count for the stage. This runs in a process of its
    # own, because this one may give back memory of earlier tests at any time.
    done = subprocess.run([sys.executable, "-c", WORK, str(tmp_path)], check=True, capture_output=True, text=True)
    assert 0.25 < float(done.stdout) < 0.45


def test_a_stage_has_the_peak_of_its_largest_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Rank 1 of two takes more than this process has; the next stage, in this process alone, has less again. The ranks'
    # pass has the places of both, and the tokens that each of them counts for both.
    (tmp_path / "toy_peak.py").write_text(RANK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    data = DataConfig(noisy={"n": SourceConfig("n.jsonl")}, safe={"s": SourceConfig("s.jsonl")})
    run = Run.create(Config(name="toy", output=str(tmp_path), data=data))
    with run.stage("alone", "hash"):
        pass
    size = int((run.state()["alone"]["memory_gb"] + 0.5) * 1000) * MB
    with run.stage("ranks", "hash", 2):
        launch("toy_peak", [str(run.folder), str(size)], 2, 1)
    with run.stage("after", "hash"):
        pass
    peaks = {name: entry["memory_gb"] for name, entry in run.state().items()}
    assert peaks["ranks"] >= size / 1e9 > peaks["after"] and not (run.folder / ".measures.json").exists()
    told = run.state()["ranks"]["passes"]["toy"]
    assert (told["tokens"], told["positions"], told["padding"], told["ranks"], told["whole"]) == (7, 10, 3, 2, True)
    assert run.state()["after"]["passes"] == {}


def test_what_cannot_be_written_costs_the_figure_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a full disk, for example, the rank's work is done and stays done.
    monkeypatch.setenv("RANK", "0")
    (tmp_path / "file").touch()
    with pytest.raises(UserError):
        write_json(tmp_path / "file" / "x.json", {})
    leave_measures(tmp_path / "file")
    assert measured(tmp_path / "file")["memory_gb"] > 0
