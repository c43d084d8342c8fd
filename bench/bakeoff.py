"""The bake-off: every signal on bias, toxicity and harmfulness, over unsafe shares, seeds, safe sets and safe steps.

    python bench/bakeoff.py --data DATA --folder FOLDER [--only 'bias-*' ...] [--score score.gradients=true ...]

DATA holds the published files that the headers of configs/paper/*.yaml name. A cell of the grid is a run
KIND-SHARE-SEED with the settings below, or a VARIANT of one. A variant starts from the noisy finetuning of its cell
with another safe set or other steps, or from its scoring with another control set. KIND-SHARE-SEED-large has three
times the rows. Every cell is measured as in bench/signals.py and written to bench/results/bakeoff.json as soon as it is
done. Finished cells are not done again unless --score asks for further scorings. The grid is reduced for CPU cores: 120
noisy rows and 40 probes, the embedded 135M model in float32, and prompts without its system prompt.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from signals import measure

from forgetfilter.storage.run_folder import Run, versions

RESULT = Path(__file__).parent / "results" / "bakeoff.json"
CONFIGS = Path(__file__).parents[1] / "configs" / "paper"
COMMON = [
    "mixture.size=120", "mixture.probes=40", "mixture.safe_size=150", "mixture.trusted_tasks=50", "mixture.eval_size=4",
    "mixture.tasks.squad.builder=none", "model.name=smollm2-135m-instruct", "model.dtype=float32",
    f"model.chat_template={Path(__file__).parent.resolve()}/short_chat.jinja", "data.max_length=192",
    "train.noisy.lr=1e-3", "train.noisy.epochs=3", "train.noisy.batch_size=8",
    "train.safe.lr=1e-3", "train.safe.epochs=2", "train.safe.batch_size=8", "train.micro_batch_tokens=512", 
    "data.batch_tokens=2048", "score.base=true", "score.tokens=true",
    "launch.threads=1", "tracking.mode=disabled",
]  # fmt: skip
KINDS = {
    "bias": ["mixture.pools.bbq.source={path: DATA/bbq.jsonl.gz}"],
    "toxicity": [
        "mixture.pools.texts.source={path: DATA/toxicity_davidson.jsonl}",
        "mixture.pools.texts.options={davidson: true, text: tweet}",
    ],
    "harmfulness": [
        "mixture.pools.answers={builder: flagged, source: {path: DATA/beavertails_unsafe.jsonl}}",
        "mixture.pools.declined={builder: refusals, source: {path: DATA/safety_only.jsonl}}",
    ],
}
TASKS = ["mixture.tasks.alpaca.source={path: DATA/alpaca.jsonl}"]
VARIANTS = {
    "one-epoch": "train.safe.epochs=1",
    "four-epochs": "train.safe.epochs=4",
    "half": "",  # of the safe set
    "no-tasks": "",  # the safe rows of the kind alone
    "other-kind": "",  # safe rows of another kind, and the trusted tasks
}
# of contrastive forgetting: 100 trusted rows of the kind, or safe ones of another; tasks: --score mixture.control=100
CONTROLS = {"control-kind": ["mixture.control=100", "mixture.control_from=kind"], "control-other": []}
# as many rows as the paper's mixtures have, and the safe set that docs/findings.md found to be enough
LARGE = [
    "mixture.size=400", "mixture.probes=100", "mixture.safe_size=600", "mixture.trusted_tasks=200",
    "train.noisy.epochs=4", "train.noisy.batch_size=16", "train.safe.batch_size=16",
]  # fmt: skip
LARGE_OF = {"harmfulness": ["mixture.size=380"]}  # as many unsafe rows as there are
OTHER = {"bias": "harmfulness", "toxicity": "bias", "harmfulness": "bias"}


@dataclass(frozen=True)
class Cell:
    kind: str
    share: float
    seed: int
    variant: str = ""

    @property
    def base(self) -> str:
        return f"{self.kind}-{self.share}-{self.seed}"

    @property
    def name(self) -> str:
        return f"{self.base}-{self.variant}" if self.variant else self.base


GRID = [
    *(Cell(kind, share, 0) for share in (0.3, 0.1, 0.5, 0.05) for kind in KINDS),
    *(Cell(kind, 0.3, seed) for seed in (1, 2) for kind in KINDS),
    *(Cell(kind, 0.0, 0, variant) for variant in ("", "large") for kind in KINDS),  # of clean data all is good
    *(Cell(kind, 0.3, 0, variant) for variant in VARIANTS for kind in KINDS),
    *(Cell(kind, 0.3, seed, "large") for kind in KINDS for seed in (0, 1, 2)),
    *(Cell(kind, 0.3, 0, variant) for variant in CONTROLS for kind in KINDS),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="names of cells, in this order; with * and ?")
    parser.add_argument("--score", nargs="*", default=[], help="settings of further scorings, on cells that are there")
    parser.add_argument("--again", action="store_true", help="measure the cells that are there again")
    options = parser.parse_args()
    chosen = [cell for pattern in options.only or ["*"] for cell in GRID if fnmatch(cell.name, pattern)]
    for cell in chosen:
        done = results()["cells"].get(cell.name)
        if not done or options.score or options.again:
            run = prepare(cell, options.data.resolve(), options.folder.resolve(), options.score)
            write(cell, run, done["seconds"] if done and options.score else {})


def prepare(cell: Cell, data: Path, folder: Path, further: list[str]) -> Run:
    """The run of a cell, mixed, finetuned and scored. Stages that are done are not done again."""
    if cell.variant in CONTROLS and not (folder / cell.name).exists():
        half = folder / f".{cell.name}.tmp"
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(folder / cell.base, half)
        half.rename(folder / cell.name)
    if cell.variant in VARIANTS or cell.variant == "control-other":
        config, settings = vary(cell, folder)
    else:
        config = CONFIGS / f"{cell.kind}.yaml"
        local = [setting.replace("DATA", str(data)) for setting in KINDS[cell.kind] + TASKS]
        size = [*LARGE, *LARGE_OF.get(cell.kind, [])] if cell.variant == "large" else []
        settings = [*COMMON, *size, *local, f"mixture.unsafe_share={cell.share}"]
        settings += CONTROLS.get(cell.variant, [])
    settings += [f"name={cell.name}", f"output={folder}", f"seed={cell.seed}", *further]
    control = cell.variant in CONTROLS or any(word.startswith("mixture.control=") for word in further)
    trained = ["noisy", "safe", *(["control"] if control else [])]
    for words in (["mix"], ["train"], ["score"]):
        stages = trained if words == ["train"] else []
        command = [sys.executable, "-m", "forgetfilter", *words, str(config), *stages, *settings, "--resume"]
        subprocess.run(command, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    return Run.open(folder / cell.name)


def vary(cell: Cell, folder: Path) -> tuple[Path, list[str]]:
    """A config with the noisy rows of the base and another safe set. It takes over the noisy finetuning of the base."""
    base, run, place = folder / cell.base, folder / cell.name, folder / "variants" / cell.name
    place.mkdir(parents=True, exist_ok=True)
    noisy, safe, probes = (lines(base / "data" / f"{name}.jsonl") for name in ("noisy", "safe", "probes"))
    kind = [line for line in safe if json.loads(line)["label"] == "safe"]
    tasks = [line for line in safe if json.loads(line)["label"] == "task"]
    if cell.variant == "half":
        safe = kind[::2] + tasks[::2]
    elif cell.variant == "no-tasks":
        safe = kind
    elif cell.variant == "other-kind":
        safe = of_another_kind(cell, folder) + tasks
    rows = {"noisy": noisy[: len(noisy) - len(probes)], "safe": safe, "probes": probes}
    if cell.variant == "control-other":
        rows["control"] = of_another_kind(cell, folder)[:100]
    for name, part in rows.items():
        (place / f"{name}.jsonl").write_text("".join(part), encoding="utf-8")
    config = place / "config.yaml"
    sources = ", ".join(f"{name}: {{rows: {{path: {place}/{name}.jsonl}}}}" for name in rows)
    config.write_text(f"data: {{{sources}}}\n")
    if not (run / "state.json").exists():
        shutil.copytree(base / "train" / "noisy", run / "train" / "noisy", dirs_exist_ok=True)
        state = json.loads((base / "state.json").read_text())
        (run / "state.json").write_text(json.dumps({"train-noisy": state["train-noisy"]}))
    epochs = VARIANTS.get(cell.variant) or "train.safe.epochs=2"
    return config, [*(word for word in COMMON if not word.startswith("mixture.")), epochs]


def of_another_kind(cell: Cell, folder: Path) -> list[str]:
    """The safe rows of another kind's safe set, without its tasks."""
    other = lines(folder / Cell(OTHER[cell.kind], cell.share, cell.seed).base / "data" / "safe.jsonl")
    return [line for line in other if json.loads(line)["label"] == "safe"]


def lines(path: Path) -> list[str]:
    with open(path, encoding="utf-8", newline="\n") as handle:  # the texts have line separators of their own
        return list(handle)


def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"cells": {}}
    return found


def write(cell: Cell, run: Run, earlier: dict[str, float]) -> None:
    """The cell's entry: seconds of its stages, rows, and a row a signal. `earlier`: seconds from before a further
    scoring, which takes what is there."""
    state = run.state()
    stages = ("train-noisy", "train-safe", "train-control", "score")
    seconds = {name: state[name]["seconds"] for name in stages if name in state}
    entry = {
        "seconds": seconds | earlier,
        "safe_rows": len(lines(run.safe_data)),
        # with another control set nothing else differs from the base
        "signals": [row for row in measure(run) if cell.variant not in CONTROLS or "contrastive" in row["signal"]],
    }
    found = results()
    found = {"versions": versions(), "cells": found["cells"] | {cell.name: entry}}
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    shown = {row["signal"]: row["auroc"] for row in entry["signals"]}
    name = "contrastive_rise" if cell.variant in CONTROLS else "relative_loss_rise"
    print(f"== {cell.name}: {entry['seconds']}, {name} {shown[name]}", flush=True)


if __name__ == "__main__":
    main()
