"""Runs the recipe of docs/trainers.md with the real LLaMA-Factory and Axolotl: two trainings, two logs, one decision.

    python bench/recipes.py --llamafactory PYTHON --axolotl PYTHON

Each PYTHON is the interpreter of an environment that has this trainer, on CPU; a trainer that is not named is left out.
A tiny model learns 24 noisy rows, then 12 safe ones, in the trainer; examples/score_model.py measures the noisy rows
under both models; `forgetfilter filter --from` decides; and the trainer trains the first model on what was kept. The
trainer also evaluates the noisy rows itself after each training, one row a batch. The result,
bench/results/recipes.json, has both means in nats a token: the mean over the rows by the trainer, and by our log. They
are equal where both render and mask the rows alike.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from trainers import AXOLOTL, LLAMA_FACTORY, final_state, tiny_model, version

from forgetfilter.storage.run_folder import versions

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "bench" / "results" / "recipes.json"
EPOCHS, BATCH, RATE = 3, 4, 2e-3
NOISY, SAFE, DROPPED = 24, 12, 6  # rows, and how many of the noisy ones the filter drops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in RECIPES:
        parser.add_argument(f"--{name}", metavar="PYTHON")
    given = {name: python for name, python in vars(parser.parse_args()).items() if python}
    found: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"trainers": {}}
    for name, python in given.items():
        with tempfile.TemporaryDirectory() as scratch:
            told = followed(name, python, Path(scratch))
        found["trainers"][name] = {"version": version(name, python), "ours": versions(), **told}
        print(name, json.dumps(told), flush=True)
        RESULT.write_text(json.dumps(found, indent=2) + "\n")


def followed(name: str, python: str, scratch: Path) -> dict[str, Any]:
    """The four steps of the recipe, in a folder: what was measured of each."""
    train, model = RECIPES[name], tiny_model(scratch / "released")
    noisy, safe = written(scratch / "noisy.jsonl", 0, NOISY), written(scratch / "safe.jsonl", 100, SAFE)
    told: dict[str, Any] = {}
    for log, rows, start, made in (
        ("before", noisy, model, scratch / "out" / "noisy"),
        ("after", safe, scratch / "out" / "noisy", scratch / "out" / "safe"),
    ):
        state = train(python, start, rows, noisy, made)
        ran("examples/score_model.py", str(made), str(noisy), log, within=scratch)
        table = pl.read_parquet(scratch / log / "**" / "*.parquet")
        ours = table.select((pl.col("loss_sum") / pl.col("num_tokens")).mean()).item()
        losses = [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]
        told[log] = {"steps": state["global_step"], "trainer": round(losses[-1], 4), "log": round(ours, 4)}
        assert table["id"].n_unique() == NOISY
    rule = ["filter.rule=top_k", f"filter.top_k={DROPPED}"]
    logs = ["--from", "before", "after", "--data", str(noisy), "--safe", str(safe)]
    ran("-m", "forgetfilter", "filter", *logs, *rule, within=scratch)
    kept = scratch / "runs" / "noisy" / "filter" / "export" / "kept.jsonl"
    told["kept"] = len(kept.read_text().splitlines())
    told["refit steps"] = train(python, model, kept, noisy, scratch / "out" / "refit")["global_step"]
    return told


def written(path: Path, start: int, rows: int) -> Path:
    """A file with made-up rows, as messages."""
    texts = [(f"What is {n} and {n + 1}?", f"It is {2 * n + 1}.") for n in range(start, start + rows)]
    turns = [[{"role": "user", "content": one}, {"role": "assistant", "content": other}] for one, other in texts]
    path.write_text("".join(json.dumps({"messages": one}) + "\n" for one in turns))
    return path


def ran(*command: str, within: Path) -> None:
    """Runs one of our own commands."""
    script = [str(ROOT / command[0]), *command[1:]] if command[0].endswith(".py") else [*command]
    done = subprocess.run([sys.executable, *script], capture_output=True, text=True, cwd=within)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-3000:]}")


def llamafactory(python: str, model: Path, rows: Path, measured: Path, made: Path) -> dict[str, Any]:
    """Without `template` it takes the tokenizer's own."""
    made.parent.mkdir(exist_ok=True)
    about = {name: {"file_name": str(path)} | LLAMA_FACTORY["messages"] for name, path in
             (("rows", rows), ("measured", measured))}  # fmt: skip
    (made.parent / "dataset_info.json").write_text(json.dumps(about))
    settings = {
        "model_name_or_path": str(model), "stage": "sft", "do_train": True, "finetuning_type": "full",
        "eval_strategy": "epoch", "dataset": "rows", "eval_dataset": "measured", "dataset_dir": str(made.parent),
        "cutoff_len": 1024, "output_dir": str(made), "num_train_epochs": EPOCHS, "learning_rate": RATE, "use_cpu": True,
        "per_device_train_batch_size": BATCH, "per_device_eval_batch_size": 1, "logging_steps": 1, "report_to": "none",
    }  # fmt: skip
    return run_yaml(python, "llamafactory.cli train", settings, made)


def axolotl(python: str, model: Path, rows: Path, measured: Path, made: Path) -> dict[str, Any]:
    """It takes the tokenizer's own template, since `chat_template` says nothing else."""
    made.parent.mkdir(exist_ok=True)
    kind = {"ds_type": "json", "split": "train"} | AXOLOTL["messages"]
    settings = {
        "base_model": str(model), "datasets": [{"path": str(rows)} | kind],
        "test_datasets": [{"path": str(measured)} | kind], "eval_strategy": "epoch", "eval_batch_size": 1,
        "dataset_prepared_path": f"{made}-prepared", "output_dir": str(made), "sequence_len": 1024,
        "micro_batch_size": BATCH, "gradient_accumulation_steps": 1, "num_epochs": EPOCHS, "optimizer": "adamw_torch",
        "learning_rate": RATE, "lr_scheduler": "constant", "logging_steps": 1, "bf16": False, "fp16": False,
    }  # fmt: skip
    return run_yaml(python, "axolotl.cli.train", settings, made)


def run_yaml(python: str, module: str, settings: dict[str, Any], made: Path) -> dict[str, Any]:
    file, words = made.parent / f"{made.name}.yaml", module.split()
    file.write_text(yaml.safe_dump(settings))
    return final_state([python, "-m", words[0], *words[1:], str(file)], made.parent)


RECIPES: dict[str, Callable[[str, Path, Path, Path, Path], dict[str, Any]]] = {
    "llamafactory": llamafactory,
    "axolotl": axolotl,
}

if __name__ == "__main__":
    main()
