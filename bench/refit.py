"""Compares the choices of what the refit is trained on, for one filtered run with unsafe rows of three kinds.

    python bench/refit.py --data DATA --folder FOLDER [--seed 0] [--only kept kept_and_trusted ...]

DATA holds the published files that the headers of configs/paper/*.yaml name. The base run is finetuned, scored and
filtered with the settings below and the filter's defaults, and M0, M1 and M2 are measured in it. Each of FORMS is a
copy of it that refits and measures M*: with train.refit.data of its own, on the rows that the filter kept or (oracle)
on all that are labelled safe or task. bench/results/refit.json has each suite's metrics with 95% intervals and, for M*,
the paired difference to M1. The size is small, for a share of a CPU core. What is finished is not done again.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from bakeoff import CONFIGS, KINDS, TASKS

from forgetfilter.config.load import load_config
from forgetfilter.data.records import read_records, write_records
from forgetfilter.files import write_json
from forgetfilter.mix.benchmarks.mixture import compose
from forgetfilter.storage.results import read_metrics, read_optional, read_summary
from forgetfilter.storage.run_folder import Run, versions

RESULT = Path(__file__).parent / "results" / "refit.json"
# 24 unsafe and 24 safe rows of each kind and 36 tasks are the noisy set; the tasks come with one of the kinds
MIXTURE = ["mixture.tasks.squad.builder=none", "mixture.eval_size=40", "filter.rule=otsu"]  # a part has few probes
WITH_TASKS = ["mixture.size=96", "mixture.unsafe_share=0.25", "mixture.probes=28"]  # 24 unsafe, 36 safe, 36 tasks
WITHOUT = ["mixture.tasks.alpaca.builder=none", "mixture.size=48", "mixture.unsafe_share=0.5", "mixture.probes=14"]
OF_KIND = {"bias": [*WITH_TASKS, "mixture.safe_size=48", "mixture.trusted_tasks=24"]}
SETTINGS = [
    "model.dtype=bfloat16", f"model.chat_template={Path(__file__).parent.resolve()}/short_chat.jinja",
    "data.max_length=128", "train.noisy={epochs: 3, lr: 1e-3, batch_size: 8}",
    "train.safe={epochs: 2, lr: 1e-3, batch_size: 8}", "train.refit={epochs: 2, lr: 1e-3, batch_size: 8, data: kept}",
    "train.micro_batch_tokens=512", "data.batch_tokens=2048", "eval.max_new_tokens=24",
    "launch.threads=1", "tracking.mode=disabled",
]  # fmt: skip
FORMS = {
    "kept": "kept",
    "kept_and_trusted": "kept_and_trusted",
    "oracle": "kept",
    "kept_then_trusted": "kept_then_trusted",
    "oracle_and_trusted": "kept_and_trusted",
}
COPIED = ("data", "train/noisy", "train/safe", "signals", "filter", "eval/noisy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[*FORMS], choices=[*FORMS])
    options = parser.parse_args()
    place = options.folder.resolve() / f"seed-{options.seed}"
    given = [*SETTINGS, f"seed={options.seed}", f"output={place}"]
    write_inputs(options.data.resolve(), place, options.seed)
    base = filtered(place, given)
    for form in options.only:
        record(options.seed, base, form, refitted(form, given, base))


def write_inputs(data: Path, place: Path, seed: int) -> None:
    """The three kinds' rows in one noisy set, one safe set and one set of probes, and the prompts of each suite."""
    sets, prompts = defaultdict[str, list[Any]](list), defaultdict[str, list[Any]](list)
    for kind in KINDS:
        local = [setting.replace("DATA", str(data)) for setting in KINDS[kind] + TASKS]
        size = OF_KIND.get(kind, [*WITHOUT, "mixture.safe_size=48"])
        config = load_config(CONFIGS / f"{kind}.yaml", [*MIXTURE, *size, *local])
        assert config.mixture
        made = compose(config.mixture, seed)
        for name, records in (("noisy", made.noisy), ("safe", made.safe), ("probes", made.probes)):
            sets[name] += records
        for suite, rows in made.prompts.items():
            prompts[suite] += rows
    for name, records in sets.items():
        write_records(place / f"{name}.jsonl", records)
    for suite, rows in prompts.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (place / f"{suite}.jsonl").write_text("".join(lines), encoding="utf-8")
    config_file = {
        "data": {name: {"rows": {"path": f"{place}/{name}.jsonl"}} for name in sets},
        "eval": {"data": {suite: {"path": f"{place}/{suite}.jsonl"} for suite in prompts}},
    }
    write_json(place / "config.yaml", config_file)  # JSON is YAML


def filtered(place: Path, given: list[str]) -> Run:
    """The base run up to the decision, with M0, M1 and M2 measured."""
    own = [*given, "name=base", "eval.models=[base,noisy,safe]"]
    for words in (["mix"], ["train", "noisy", "safe"], ["score"], ["filter"], ["eval"]):
        call(place, words, own)
    return Run.open(place / "base")


def refitted(form: str, given: list[str], base: Run) -> Run:
    """A copy of the run with M* by one form, measured beside the answers of M1."""
    folder = base.folder.with_name(form)
    if not folder.exists():
        half = folder.with_name(f".{form}.tmp")
        shutil.rmtree(half, ignore_errors=True)
        for part in COPIED:
            shutil.copytree(base.folder / part, half / part)
        if form.startswith("oracle"):
            probes = {record.id for record in read_records(base.probes)}
            rows = read_records(base.noisy_data)
            good = (row for row in rows if row.label in ("safe", "task") or row.id in probes)
            write_records(half / "filter" / "kept.jsonl", good)
        write_json(half / "state.json", {name: entry for name, entry in base.state().items() if name != "eval"})
        half.rename(folder)
    own = [*given, f"name={form}", f"train.refit.data={FORMS[form]}", "eval.models=[noisy,refit]"]
    for words in (["train", "refit"], ["eval"]):
        call(base.folder.parent, words, own)
    return Run.open(folder)


def call(place: Path, words: list[str], given: list[str]) -> None:
    command = [sys.executable, "-m", "forgetfilter", words[0], str(place / "config.yaml"), *words[1:], *given]
    subprocess.run([*command, "--resume"], check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})


def record(seed: int, base: Run, form: str, run: Run) -> None:
    """Adds what was measured to the result: {"seeds": {SEED: {"filter", "refit": {FORM}, "metrics": {SUITE: ...}}}}."""
    found: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"seeds": {}}
    entry = found["seeds"].setdefault(str(seed), {"refit": {}, "metrics": {}})
    summary = read_summary(base.folder)
    entry["filter"] = {key: summary.get(key) for key in ("signal", "rule", "kept", "dropped", "quality", "by_label")}
    entry["refit"][form] = read_optional(run.refit_counts) | {"seconds": run.state()["train-refit"]["seconds"]}
    for suite, metrics in read_metrics(base.folder).items():
        for metric, models in metrics.items():
            entry["metrics"].setdefault(suite, {}).setdefault(metric, {}).update(models)
    for suite, metrics in read_metrics(run.folder).items():
        for metric, models in metrics.items():
            entry["metrics"][suite][metric][form] = models["refit"]
    RESULT.write_text(json.dumps({"versions": versions()} | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
