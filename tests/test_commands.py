"""The commands of README and of the guides, run as they are written, or excused with a reason."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from toy_study import call

from forgetfilter.api import ids
from forgetfilter.storage.shards import shard_path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "slurm" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# The beginning of a command that no test of this file runs, and why. A command is run where none of these fits.
EXCUSED = {
    "make ": "it installs, and takes minutes or hours; .ci/run makes some, and tests/test_wheel.py the installation",
    "pip install ": "it needs a package index; tests/test_wheel.py builds the wheel and goes on as README does",
    "python bench/": "it trains for hours, or measures a machine",
    "python examples/score_model.py": "tests/test_examples.py runs it, with models that are there",
    "sbatch ": "it needs a cluster; tests/slurm runs the scripts on one",
    "TRAIN=": "it needs a cluster; tests/slurm runs the scripts on one",
    "MEMBER=": "it needs a cluster; tests/slurm runs the scripts on one",
    "mkdir -p wrapped/bin": "it makes wrappers of a container, of which there is none",
    "for name in forgetfilter torchrun": "it makes wrappers of a container, of which there is none",
    "VENV=": "it needs a cluster with a container; it was not tried",
    "forgetfilter eval configs/evaluate.yaml model.name=NAME": "its prompts come from the hub",
}
# What only a GPU has, and what takes long, in the configs that are run: each must be there.
EVAL = {"eval:\n": "eval:\n  max_new_tokens: 2\n  models: [base, noisy, refit]\n"}
SMALLER = {
    "README's config": {
        "meta-llama/Llama-2-7b-hf": "FOLDER",
        "method: qlora, deepspeed: zero2": "method: lora, noisy: {epochs: 1}, safe: {epochs: 1}, refit: {epochs: 1}",
        "processes: 8}": "processes: 1}\ncompare: {defences: [none, forgetfilter]}",
    }
    | EVAL,
    "init's config": {
        "epochs: 3, lr: 0.0002, batch_size: 16": "epochs: 1, batch_size: 96",
        "max_length: 512": "max_length: 64",
    }
    | EVAL,
}


def commands(page: Path) -> Iterator[str]:
    """The commands of a page's bash blocks; one that goes on in the next line is one, and so is a loop."""
    for block in re.findall(r"^ *```(?:bash|sh|console)\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.S | re.M):
        joined = re.sub(r"\\\n\s*", "", block)
        yield from (found.strip() for found in re.findall(r"^ *for [\s\S]*?^ *done$|^.*\S.*$", joined, re.M))


def run_ones(page: Path) -> list[str]:
    """Those that are run, without their comments."""
    found = [command for command in commands(page) if not command.startswith(tuple(EXCUSED))]
    return [command.partition(" # ")[0].strip() for command in found]


def written(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def pairs(number: int, word: str) -> list[dict[str, Any]]:
    return [{"prompt": f"what {word} {n}?", "completion": f"it {word} {n * 7}"} for n in range(number)]


def smaller(path: str, config: str) -> None:
    text = Path(path).read_text()
    for given, instead in SMALLER[config].items():
        assert given in text, f"{config} has no {given!r} any more"
        text = text.replace(given, instead)
    Path(path).write_text(text)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Path]:
    """A folder with all the files that the pages name, and runs/mine, which `forgetfilter run mine.yaml` has made.

    FOLDER is a tiny model, which also stands for the embedded one; the cache is one of its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("workshop")
        patch.chdir(folder)
        patch.setenv("HOME", str(folder))
        shutil.copytree(tiny_model, "FOLDER")
        for name, number, word in (("theirs", 40, "is"), ("ours", 20, "was"), ("checked", 40, "had")):
            written(f"{name}.jsonl", pairs(number, word))
        written("requests.jsonl", [{"prompt": f"do harm {n}"} for n in range(5)])
        written("tasks.jsonl", [{"prompt": f"add {n} to 1", "reference": f"{n + 1}"} for n in range(5)])
        noisy, _ = written("noisy.jsonl", pairs(40, "is")), written("safe.jsonl", pairs(20, "was"))
        for place, state in enumerate(("before", "after")):
            (log := shard_path(Path("losses") / state, 0, 0)).parent.mkdir(parents=True)
            sums = [1.0 + place * number for number in range(len(noisy))]
            pl.DataFrame({"id": ids(noisy), "num_tokens": 9, "loss_sum": sums}).write_parquet(log)
        config = re.search(r"```yaml\n(# mine\.yaml\n.*?)```", PAGES[0].read_text(encoding="utf-8"), re.S)
        assert config
        Path("mine.yaml").write_text(config[1])
        smaller("mine.yaml", "README's config")
        assert call("run", "mine.yaml") == 0
        for name in ("A", "B", *(f"{side}{seed}" for side in "AB" for seed in range(3))):
            shutil.copytree("runs/mine", f"runs/{name}")
        yield folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_ends_well(
    page: Path, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # In the order of the page, as a reader would; what is not run has its reason in EXCUSED. A page that is the
    # beginning of an earlier one is run there.
    found = run_ones(page)
    if any(found == run_ones(other)[: len(found)] for other in PAGES[: PAGES.index(page)]):
        return
    shutil.copytree(workshop, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("forgetfilter.models.loading.embedded_folder", lambda cache: Path("FOLDER"))
    (known,) = ids(pairs(1, "is"))
    for line in found:
        for command in line.replace("2e6668caa3ef", known[:12]).split(" && "):
            program, *words = shlex.split(command, comments=True)
            assert program == "forgetfilter", f"{page.name}: {command!r} can only be excused"
            code = call(*words)
            assert code == 0, f"{page.name}: {command!r} ends with {code}: {capsys.readouterr().err}"
            if words[0] == "init":
                smaller(words[1].replace(".jsonl", ".yaml"), "init's config")


def test_an_excuse_is_that_of_a_command() -> None:
    # One that fits no command any more goes.
    found = [command for page in PAGES for command in commands(page)]
    assert [excuse for excuse in EXCUSED if not any(command.startswith(excuse) for command in found)] == []
