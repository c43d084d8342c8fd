"""The plan's memory and hours beside what a training on this machine takes, in six configurations.

    python bench/plan_memory.py [--only NAME] [--hours] [--folder FOLDER]

Each cell is a Llama of 4 layers (hidden 256, inner 768, the embedded model's tokenizer, random weights), planned as
`forgetfilter plan` does. Its first training stage is run under torch's profiler, whose record of every allocation gives
the peak of tensors (which on a GPU is torch.cuda.max_memory_allocated). The resident peak of the process is what the
run notes in state.json, the profiler's own record included. Planned are the total of the table for the tensors, and
memory.resident() of it for the process. With --hours one cell is trained without the profiler, and its seconds stand
beside those of `--measure`, whose probe runs after it. Writes bench/results/plan_memory.json after each cell, and keeps
the other cells that are there.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Trainer

from forgetfilter import pipeline
from forgetfilter.cli.plan import estimate
from forgetfilter.config.load import load_config
from forgetfilter.models.embedded import EMBEDDED
from forgetfilter.models.loading import resolve
from forgetfilter.models.memory import resident
from forgetfilter.models.plan.estimate import Given
from forgetfilter.models.pretrained import load_plain_tokenizer
from forgetfilter.storage.run_folder import Run, versions

RESULT = Path(__file__).parent / "results" / "plan_memory.json"
GB = 1e9
SHAPE: dict[str, Any] = {"num_hidden_layers": 4, "hidden_size": 256, "intermediate_size": 768, "num_attention_heads": 4}
SHAPE |= {"num_key_value_heads": 2, "head_dim": 64}
CELLS: dict[str, list[str]] = {
    "lora, sdpa": [],
    "lora, sdpa, checkpointing": ["train.gradient_checkpointing=true"],
    "lora, eager": ["model.attention=eager"],
    "lora, sdpa, 2,048 tokens": ["train.micro_batch_tokens=2048"],
    "full, sdpa": ["train.method=full"],
    "full, sdpa, checkpointing": ["train.method=full", "train.gradient_checkpointing=true"],
}
WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "gave", "polite", "answers", "to", "questions", "it", "went")
GIVEN = Given(80.0, 2.0, 50.0, None, 0, None, None, None, 0.4, False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="one cell by its name")
    parser.add_argument("--hours", action="store_true", help="the seconds of the cells, in the place of their memory")
    parser.add_argument("--folder", type=Path, help="where the runs go, in the place of a temporary folder")
    parser.add_argument("--worker", nargs=2, metavar=("CONFIG", "HOW"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(trained(Path(options.worker[0]), options.worker[1])))
        return
    folder = options.folder or Path(tempfile.mkdtemp())
    cells: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    about = {"threads": torch.get_num_threads(), "commit": versions()["commit"], "torch": versions()["torch"]}
    for name in CELLS if options.only is None else [options.only]:
        key = f"{name}, hours" if options.hours else name
        cells[key] = cell(folder, name, options.hours) | about | {"load": round(os.getloadavg()[0], 1)}
        RESULT.write_text(json.dumps(cells, indent=1) + "\n")


def cell(folder: Path, name: str, hours: bool) -> dict[str, Any]:
    """Planned and measured: 10^9 bytes, seconds."""
    path = config_file(folder, name)
    alone = estimate(load_config(path, own=True), GIVEN).planner.alone
    found: dict[str, Any] = {"planned_tensors_gb": alone.total / GB, "planned_process_gb": resident(alone) / GB}
    hows = ("plain", "probe") if hours else ("profiled",)
    for how in hows:
        done = subprocess.run([sys.executable, __file__, "--worker", str(path), how], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        found |= json.loads(done.stdout.splitlines()[-1])
    for what in ("seconds",) if hours else ("tensors_gb", "process_gb"):
        found[f"{what}_off"] = found[f"planned_{what}"] / found[f"measured_{what}"] - 1
    rounded = {key: round(value, 3) for key, value in found.items()}
    print(name, json.dumps(rounded), flush=True)
    return rounded


def config_file(folder: Path, name: str) -> Path:
    """The cell's configuration, its model and its data: two steps of two micro-batches, or of one."""
    own = folder / name.replace(", ", "-").replace(" ", "-")
    own.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    sources = {}
    for kind, rows in (("noisy", 16), ("safe", 4)):
        texts = [" ".join(rng.choices(WORDS, k=110)) for _ in range(2 * rows)]
        lines = [json.dumps({"prompt": a, "completion": f"{b} {kind}"}) for a, b in zip(texts[::2], texts[1::2])]
        (own / f"{kind}.jsonl").write_text("\n".join(lines) + "\n")
        sources[kind] = {kind: {"path": str(own / f"{kind}.jsonl")}}
    config = {
        "name": "run",
        "output": str(own),
        "model": {"name": str(small_model(folder / "model"))},
        "data": sources | {"max_length": 256},
        "tracking": {"mode": "disabled"},
        "train": {"micro_batch_tokens": 1024, "checkpoint_steps": 0, "noisy": {"epochs": 1, "batch_size": 8}},
    }
    (own / "base.yaml").write_text(json.dumps(config))
    loaded = load_config(own / "base.yaml", CELLS[name])
    run = Run.create(loaded, resume=True)
    return run.folder / "config.yaml"


def small_model(folder: Path) -> Path:
    """A small Llama with random weights and the embedded model's tokenizer."""
    if not (folder / "config.json").exists():
        source, kind = resolve(EMBEDDED, None, Path("~/.cache/forgetfilter").expanduser()).path, AutoModelForCausalLM
        config, made = (
            AutoConfig.from_pretrained(source, **SHAPE),
            dict[str, Any](dtype=torch.bfloat16),
        )
        torch.manual_seed(0)
        kind.from_config(config, **made).save_pretrained(folder)
        load_plain_tokenizer(source, "model.name").save_pretrained(folder)
    return folder


def trained(path: Path, how: str) -> dict[str, float]:
    """Trains the noisy stage of a run anew."""
    run = Run.open(path.parent)
    by_name = {stage.name: stage for stage in pipeline.STAGES}
    pipeline.run_stage(run, by_name["mix"])
    if how == "probe":
        planner = estimate(run.config, replace(GIVEN, measure=True)).planner
        hours = next(planner.trainings()).hours
        assert hours is not None
        return {"planned_seconds": hours * 3600}
    if how == "plain":
        seconds = timed_steps()
        pipeline.run_stage(run, by_name["train-noisy"], again=True)
        return {"measured_seconds": seconds[0]}
    watch = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
    with watch:
        pipeline.run_stage(run, by_name["train-noisy"], again=True)
    assert watch.profiler is not None and watch.profiler.kineto_results is not None
    held = peak = 0
    for event in watch.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return {"measured_tensors_gb": peak / GB, "measured_process_gb": run.state()["train-noisy"]["memory_gb"]}


def timed_steps() -> list[float]:
    """Where the seconds of the next training's steps will stand: without the model's loading and the checks."""
    seconds: list[float] = []
    train = Trainer.train

    def timed(self: Trainer, *args: Any, **options: Any) -> Any:
        start = time.monotonic()
        found = train(self, *args, **options)
        seconds.append(time.monotonic() - start)
        return found

    Trainer.train = timed
    return seconds


if __name__ == "__main__":
    main()
