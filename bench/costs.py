"""Measures what each signal costs on a finished run: the seconds of its scoring or training beyond the two scorings.

    python bench/costs.py RUN [--encoder all-minilm-l6-v2]

The run is copied without its signals and scored again, one option after the other. The seconds are those of the stage:
they include loading the models, but not the start of Python. RUN should have a control set (mixture.control); the time
of its finetuning is read from the run's state. The result is bench/results/costs.json.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from forgetfilter.filter.texts import text_columns

from forgetfilter.storage.run_folder import Run, versions

RESULT = Path(__file__).parent / "results" / "costs.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    options = parser.parse_args()
    trained = {name: entry["seconds"] for name, entry in Run.open(options.run).state().items() if "train" in name}
    with tempfile.TemporaryDirectory() as folder:
        found = measured(options.run, Path(folder), options.encoder)
    rows = sum(1 for _ in open(Run.open(options.run).noisy_data))
    result = {"versions": versions(), "rows": rows, "trainings": trained, "scorings": found}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["scorings"], indent=1))


def measured(source: Path, folder: Path, encoder: str) -> dict[str, float]:
    """{what: seconds}, each option of its own."""
    control = " and the control's" if Run.open(source).config.has_control else ""
    steps: dict[str, list[str]] = {
        f"the two scorings{control}": [],
        "their tokens (both again)": ["score.tokens=true"],
        "base": ["score.base=true"],
        "noise": ["score.noise=true"],
        "gradients": ["score.gradients=true"],
        "encoder": [f"score.encoder={encoder}"],
        "rouge": ["score.rouge=true"],
    }
    run = Run(folder / source.name, Run.open(source).config)
    shutil.copytree(source, run.folder, ignore=shutil.ignore_patterns("signals", "filter"))
    state = {name: entry for name, entry in run.state().items() if name == "mix" or name.startswith("train-")}
    (run.folder / "state.json").write_text(json.dumps(state))
    off = ["score.base=false", "score.tokens=false", "score.gradients=false", 'score.encoder=""']
    found = {}
    for what, asked in steps.items():
        words = ["score", str(source / "config.yaml"), f"output={folder}", *off, *asked, "--resume"]
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        subprocess.run([sys.executable, "-m", "forgetfilter", *words], check=True, env=environment)
        found[what] = run.state()["score"]["seconds"]
    start = time.perf_counter()
    text_columns.prepare(run, ["cluster"])
    return found | {"clusters of alike texts": round(time.perf_counter() - start, 2)}


if __name__ == "__main__":
    main()
