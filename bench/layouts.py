"""Compares per-example losses in the three batch layouts with transformers' own loss, in one run.

    python bench/layouts.py [--repeats 5] [--model smollm2-135m-instruct]

It times one training step (forward and backward, LoRA on q and v) over the same 16 examples of 32 to 128 tokens, half
of each the prompt. The result, bench/results/layouts.json, has the seconds of each repeat, the ratios to transformers,
and the peak memory.
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch

from forgetfilter.config.schema import LoraConfig
from forgetfilter.data.batches import collate
from forgetfilter.data.turns import after_prompt
from forgetfilter.models.example_losses import attach
from forgetfilter.models.loading import load_base, resolve
from forgetfilter.models.lora_targets import adapter_config
from forgetfilter.models.numerics import attention_backend
from forgetfilter.storage.run_folder import versions

PEER = "transformers, padded, mean loss only"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = resolve(options.model, None, Path("~/.cache/forgetfilter").expanduser())
    attention = attention_backend("auto", device, base.path, "bfloat16")
    model: Any = load_base(base.path, "bfloat16", attention, device)
    model = peft.get_peft_model(model, adapter_config(model, LoraConfig(dropout=0.0)))
    attach(model)
    batches = {name: {k: v.to(device) for k, v in batch.items()} for name, batch in make_batches().items()}
    seconds: dict[str, list[float]] = {name: [] for name in batches}
    for repeat in range(options.repeats + 1):
        for name, batch in batches.items():  # in turn, so that a slow moment of the machine hits all alike
            elapsed = step(model, batch, device)
            if repeat:  # the first round warms up
                seconds[name].append(round(elapsed, 4))
    write(options.model, attention, device, seconds)


def make_batches() -> dict[str, dict[str, torch.Tensor]]:
    rng = np.random.default_rng(0)
    examples = [after_prompt(rng.integers(5, 40000, int(n)).tolist(), int(n) // 2) for n in rng.integers(32, 129, 16)]
    padded = collate(examples, range(16), "padded", 0)
    labels = padded["input_ids"].masked_fill(padded["attention_mask"] == 0, -100)
    for row, (_, [(num_prompt, _)]) in enumerate(examples):
        labels[row, :num_prompt] = -100
    plain = {"input_ids": padded["input_ids"], "attention_mask": padded["attention_mask"], "labels": labels}
    ours = {f"per-example, {layout}": collate(examples, range(16), layout, 0) for layout in ("padded", "rows", "row")}
    return {PEER: plain} | ours


def step(model: Any, batch: dict[str, torch.Tensor], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    output = model(**batch)
    (output["loss"] if isinstance(output, dict) else output.loss).backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    model.zero_grad()
    return time.perf_counter() - start


def write(model: str, attention: str, device: torch.device, seconds: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "model": model,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads",
        "attention": attention,
        "versions": versions(),
        "seconds": seconds,
        "speed_relative_to_peer": {name: round(medians[PEER] / value, 3) for name, value in medians.items()},
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    path = Path(__file__).parent / "results" / "layouts.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["speed_relative_to_peer"], indent=2))


if __name__ == "__main__":
    main()
