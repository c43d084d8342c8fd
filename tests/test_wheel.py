"""The wheel stands alone: what it holds, and the way from an empty folder to a first report with it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("forgetfilter", "train", "filter", "eval", "configs", "slurm")
DATA = ("*.yaml", "*.jsonl", "*.jinja", "*.j2", "*.js", "*.sh", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, built from a copy so that the checkout stays clean."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "copy" / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    done = subprocess.run([*pip, str(folder / "copy")], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(folder / "site")
    return folder / "site"


def forgetfilter(installed: Path, folder: Path, *words: object) -> list[str]:
    """The lines that a command prints, with the wheel's code in the place of the checkout's."""
    environment = os.environ | {"PYTHONPATH": str(installed), "WANDB_MODE": "disabled"}
    command = [sys.executable, "-m", "forgetfilter", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_wheel_holds_every_file(installed: Path) -> None:
    # The wheel has every source file, the report's template, the configs with their data, and the Slurm scripts.
    sources = {path for name in FOLDERS[:4] for path in (ROOT / name).rglob("*.py")}
    data = {path for name in FOLDERS for pattern in DATA for path in (ROOT / name).rglob(pattern)}
    assert len(sources) > 200 and len(data) > 20
    for path in {*sources, *data, ROOT / "forgetfilter" / "py.typed"}:
        name = path.relative_to(ROOT)
        assert (installed / ("" if name.parts[0] == "forgetfilter" else "forgetfilter") / name).is_file(), name


def test_the_wheel_says_what_it_is(installed: Path) -> None:
    # Licence, types, the command and the extras are in its metadata.
    (about,) = installed.glob("*.dist-info")
    told, licence = (about / "METADATA").read_text().splitlines(), about / "licenses" / "LICENSE"
    assert {"License-Expression: Apache-2.0", "Classifier: Typing :: Typed", "Requires-Python: >=3.11"} <= {*told}
    assert {"Provides-Extra: train", "Provides-Extra: all", "Provides-Extra: tensorboard"} <= {*told}
    assert not [line for line in told if line.startswith("Requires-Dist: torch") and "extra" not in line]
    assert "forgetfilter = forgetfilter.cli:main" in (about / "entry_points.txt").read_text() and licence.is_file()


def test_from_an_empty_folder_to_a_report_of_ones_own_file(installed: Path, tmp_path: Path, tiny_model: Path) -> None:
    # After pip the commands init and run are enough, with a file of the user's own, the model as a folder, and nothing
    # else.
    rows = [{"question": f"what is {n}?", "answer": f"it is {n * 7}"} for n in range(40)]
    (tmp_path / "theirs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = forgetfilter(installed, tmp_path, "init", "theirs.jsonl", "--model", tiny_model)[-1]
    quick = ["eval.models=[base,refit]", "eval.max_new_tokens=2", "cache=cache"]
    quick += [f"train.{name}.epochs=1" for name in ("noisy", "safe", "refit")]
    run = forgetfilter(installed, tmp_path, "run", config, *quick)[-1]
    assert run == "runs/theirs" and (tmp_path / run / "report.html").stat().st_size > 10_000
    measured = {path.parent.name for path in (tmp_path / run / "eval" / "refit").glob("*/metrics.json")}
    assert measured == {"toxicity", "bias", "harmfulness", "task"}


def test_the_wheel_gives_its_examples_and_scripts(installed: Path, tmp_path: Path) -> None:
    # The quickstart's config finds all its files where it was copied to, and the scripts can be executed.
    assert forgetfilter(installed, tmp_path, "example", "quickstart") == ["configs/quickstart.yaml"]
    assert "name: quickstart" in forgetfilter(installed, tmp_path, "config", "configs/quickstart.yaml")
    named = [
        word for word in (tmp_path / "configs/quickstart.yaml").read_text().split() if "configs/quickstart/" in word
    ]
    assert len(named) == 7 and all((tmp_path / word.strip("{},")).is_file() for word in named)
    forgetfilter(installed, tmp_path, "slurm")
    assert os.access(tmp_path / "slurm" / "run_forgetfilter.sh", os.X_OK)
