"""The light core: what decides, reports and looks needs neither torch nor what trains."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from two_logs import write_two_logs

TRAINING = ["torch", "transformers", "peft", "accelerate", "deepspeed", "bitsandbytes", "wandb", "datasets", "gguf"]
WITHOUT = f"""
import importlib.abc, importlib.util, json, sys
def lacks(name):
    return name.split(".")[0] in {[*TRAINING, "rouge_score", "profanity_check", "huggingface_hub", "tokenizers"]}
class Lacking(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if lacks(name):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Lacking())
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if lacks(name) else find_spec(name, package)
from forgetfilter import cli
for words in json.load(sys.stdin):
    try:
        cli.main(words)
    except SystemExit as end:
        print("EXIT", end.code, words)
"""
LOGS = "--from before after --data noisy.jsonl --safe safe.jsonl"
FROM = f"filter {LOGS} filter.rule=top_k filter.top_k=3 name=r tracking.mode=auto"
DECIDE = "filter runs/r filter.rule=top_k filter.top_k=2"
WORK = [
    "init noisy.jsonl", "example", "example quickstart", "slurm", "config noisy.yaml", "config --describe", FROM,
    DECIDE, f"{DECIDE} --sweep", "filter runs/r --review", "report runs/r", "verify runs/r", "doctor",
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Rows and two loss logs of them."""
    write_two_logs(tmp_path)
    return tmp_path


def ran(here: Path, *commands: str) -> subprocess.CompletedProcess[str]:
    given = json.dumps([command.split() for command in commands])
    return subprocess.run([sys.executable, "-c", WITHOUT], input=given, capture_output=True, text=True, cwd=here)


def test_deciding_reporting_and_looking_need_nothing_that_trains(here: Path) -> None:
    # Each of these commands does its work and ends with 0 where torch and its like cannot be imported.
    done = ran(here, *WORK)
    codes = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("EXIT")]
    assert codes == ["0"] * len(WORK), done.stdout + done.stderr
    assert (here / "runs/r/report.html").is_file() and (here / "noisy.yaml").is_file()


def test_what_trains_says_how_it_is_installed(here: Path) -> None:
    # A command that trains ends with exit code 2 and the line that installs what it needs, in the place of a traceback.
    done = ran(here, "init noisy.jsonl", "run noisy.yaml")
    assert "EXIT 2 ['run', 'noisy.yaml']" in done.stdout
    assert done.stderr.splitlines()[-1].startswith(
        "forgetfilter: torch is not installed: pip install 'forgetfilter[all]'"
    )
