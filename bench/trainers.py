"""Trains on the filter's export with TRL, LLaMA-Factory and Axolotl: one epoch of a tiny model for each shape of rows.

    python bench/trainers.py --trl PYTHON --llamafactory PYTHON --axolotl PYTHON

Each PYTHON is the interpreter of an environment that has this trainer, on CPU; a trainer that is not named is left out.
40 rows of each shape pass the mix stage and the filter (with made-up losses, 30% dropped), and the trainer reads
filter/export/kept.jsonl with its own setting for rows of this shape. The result, bench/results/trainers.json, has the
trainer's version, the steps that its state file counts (28 rows by 4 are 7 steps; LLaMA-Factory packs plain texts and
has fewer) and its last loss in nats.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from forgetfilter.filter.decide import decide
from forgetfilter.filter.stage import settings

from forgetfilter.config.schema import Config, DataConfig, FilterConfig, SourceConfig
from forgetfilter.data.records import read_records
from forgetfilter.mix.stage import mix
from forgetfilter.models.embedded import EMBEDDED
from forgetfilter.models.loading import resolve
from forgetfilter.storage.run_folder import Run, versions
from forgetfilter.storage.shards import COMPARABLE, LOSS_SCHEMA, shard_path, write_manifest, write_shard

RESULT = Path(__file__).parent / "results" / "trainers.json"
ROWS, BATCH, WIDTH = 40, 4, 128  # rows of a shape, rows a step, tokens of a row at most
SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "messages": lambda i: {
        "messages": [{"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": f"answer {i}"}]
    },
    "completion": lambda i: {"prompt": f"question {i}", "completion": f" answer {i}"},
    "alpaca": lambda i: {"instruction": f"question {i}", "input": "" if i % 2 else "it", "output": f"answer {i}"},
    "text": lambda i: {"text": f"some words about {i}"},
}
ROLES = {name: name.removesuffix("_tag") for name in ("user_tag", "assistant_tag", "system_tag")}
LLAMA_FACTORY: dict[str, dict[str, Any]] = {
    "messages": {
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content"} | ROLES,
    },
    "completion": {"columns": {"prompt": "prompt", "response": "completion"}},
    "alpaca": {},
    "text": {"columns": {"prompt": "text"}},
}
AXOLOTL: dict[str, dict[str, Any]] = {
    "messages": {"type": "chat_template"},
    "completion": {
        "type": {"field_instruction": "prompt", "field_output": "completion", "format": "{instruction}"}
        | {"no_input_format": "{instruction}"}
    },
    "alpaca": {"type": "alpaca"},
    "text": {"type": "completion", "field": "text"},
}
TRL = f"""
import sys
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

kept, model, out = sys.argv[1:]
rows = load_dataset("json", data_files=kept, split="train")
how = {{}}
if "instruction" in rows.column_names:  # TRL leaves Alpaca's fields to a function of one's own
    how = {{"formatting_func": lambda row: "\\n".join([row["instruction"], row["input"], row["output"]])}}
options = dict(use_cpu=True, bf16=False, report_to=[], num_train_epochs=1, per_device_train_batch_size={BATCH})
SFTTrainer(model, SFTConfig(out, logging_steps=1, max_length={WIDTH}, **options), train_dataset=rows, **how).train()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in TRAINERS:
        parser.add_argument(f"--{name}", metavar="PYTHON")
    given = {name: python for name, python in vars(parser.parse_args()).items() if python}
    found: dict[str, Any] = {"versions": versions(), "trainers": {}}
    with tempfile.TemporaryDirectory() as scratch:
        model = tiny_model(Path(scratch) / "model")
        kept = {shape: filtered(Path(scratch) / shape, make) for shape, make in SHAPES.items()}
        for name, python in given.items():
            found["trainers"][name] = {"version": version(name, python)}
            for shape, path in kept.items():
                out = Path(scratch) / name / shape
                out.mkdir(parents=True)
                found["trainers"][name][shape] = trained(TRAINERS[name](python, shape, path, model, out), out)
                print(name, shape, found["trainers"][name][shape], flush=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n")


def tiny_model(folder: Path) -> Path:
    """One layer with random weights and the embedded model's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    embedded = resolve(EMBEDDED, None, Path("~/.cache/forgetfilter").expanduser()).path
    config = AutoConfig.from_pretrained(embedded)
    config.update({"num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 64, "head_dim": 16})
    config.update({"num_attention_heads": 4, "num_key_value_heads": 2})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(embedded).save_pretrained(folder)
    return folder


def filtered(folder: Path, make: Callable[[int], dict[str, Any]]) -> Path:
    """filter/export/kept.jsonl of a run on rows of one shape."""
    folder.mkdir()
    noisy, safe = folder / "noisy.jsonl", folder / "safe.jsonl"
    noisy.write_text("".join(json.dumps(make(i)) + "\n" for i in range(ROWS)))
    safe.write_text('{"text": "safe"}\n')
    data = DataConfig({"noisy": SourceConfig(path=str(noisy))}, {"safe": SourceConfig(path=str(safe))})
    options = FilterConfig(signal="loss_rise", rule="quantile", quantile=0.3)
    run = Run(folder / "run", Config(name="run", output=str(folder), data=data, filter=options))
    mix(run, run.config)
    ids = [record.id for record in read_records(run.noisy_data)]
    for state, nats in (("before", 0), ("after", 1)):
        rows = [
            {"id": i, "source": "noisy", "num_tokens": 1, "loss_sum": float(nats * (n * 7 % ROWS))}
            | {"rank": 0, "step": 0, "epoch": 0}
            for n, i in enumerate(ids)
        ]
        write_shard(shard_path(run.signals(state), 0, 0), pa.Table.from_pylist(rows, schema=LOSS_SCHEMA))
        write_manifest(run.signals(state), dict.fromkeys(COMPARABLE, "same"))
    assert decide(settings(run))["export"] == {"noisy": {"kept": 28, "dropped": 12}}
    return run.folder / "filter" / "export" / "kept.jsonl"


def trl(python: str, shape: str, kept: Path, model: Path, out: Path) -> list[str]:
    return [python, "-c", TRL, str(kept), str(model), str(out)]


def llamafactory(python: str, shape: str, kept: Path, model: Path, out: Path) -> list[str]:
    about = {"kept": {"file_name": str(kept)} | LLAMA_FACTORY[shape]}
    (out / "dataset_info.json").write_text(json.dumps(about))
    settings = {
        "model_name_or_path": str(model), "stage": "pt" if shape == "text" else "sft", "do_train": True,
        "finetuning_type": "full", "dataset": "kept", "dataset_dir": str(out), "template": "default",
        "cutoff_len": WIDTH, "output_dir": str(out / "made"), "num_train_epochs": 1, "use_cpu": True,
        "per_device_train_batch_size": BATCH, "logging_steps": 1, "report_to": "none",
    }  # fmt: skip
    (out / "train.yaml").write_text(yaml.safe_dump(settings))
    return [python, "-m", "llamafactory.cli", "train", str(out / "train.yaml")]


def axolotl(python: str, shape: str, kept: Path, model: Path, out: Path) -> list[str]:
    settings = {
        "base_model": str(model), "datasets": [{"path": str(kept), "ds_type": "json"} | AXOLOTL[shape]],
        "dataset_prepared_path": str(out / "prepared"), "output_dir": str(out / "made"), "sequence_len": WIDTH,
        "micro_batch_size": BATCH, "gradient_accumulation_steps": 1, "num_epochs": 1, "optimizer": "adamw_torch",
        "learning_rate": 1e-4, "lr_scheduler": "constant", "logging_steps": 1, "bf16": False, "fp16": False,
    }  # fmt: skip
    (out / "train.yaml").write_text(yaml.safe_dump(settings))
    return [python, "-m", "axolotl.cli.train", str(out / "train.yaml")]


TRAINERS: dict[str, Callable[[str, str, Path, Path, Path], list[str]]] = {
    "trl": trl,
    "llamafactory": llamafactory,
    "axolotl": axolotl,
}


def trained(command: list[str], out: Path) -> dict[str, float]:
    """Runs a trainer; its steps and its last loss."""
    state = final_state(command, out)
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    return {"steps": state["global_step"], "loss": round(float(losses[-1]), 3)}


def final_state(command: list[str], out: Path) -> dict[str, Any]:
    """Runs a trainer; the state file that it left."""
    quiet = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "AXOLOTL_DO_NOT_TRACK": "1", "WANDB_MODE": "disabled"}
    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, cwd=out)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])}: exit {done.returncode}\n{done.stderr[-3000:]}")
    state: dict[str, Any] = json.loads(max(out.rglob("trainer_state.json"), key=os.path.getmtime).read_text())
    return state


def version(package: str, python: str) -> str:
    code = f"from importlib.metadata import version; print(version('{package}'))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
