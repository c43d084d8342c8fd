"""Measures what packed micro-batches of ever new shapes cost a CPU in memory and time, for LoRA in bfloat16.

    python bench/shapes.py [--steps 90] [--tokens 512] [--model smollm2-135m-instruct] [--only WAY ...]

Each way runs in a process of its own, over the same examples (lengths by a gamma law, half of each the prompt), one
micro-batch a step: as training does it (rows as wide as the longest example, of which no two are alike), with the width
rounded up to a multiple of 32 (which is padding that is computed), with a small cache of oneDNN's compiled primitives,
with glibc's free memory returned to the system before each step or every other one, and with large blocks always
returned at once. Written to bench/results/shapes.json, where other ways stay as they are: resident GB after 12, 30, 60
... steps, seconds a step over the last two thirds, and how many shapes there were. Seconds depend on what else the
machine does, memory does not; for every other step the median speed of the two kinds of steps is compared.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
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
from forgetfilter.storage.run_folder import versions

RESULT = Path(__file__).parent / "results" / "shapes.json"
MULTIPLE = 32  # tokens
WAYS: dict[str, dict[str, str]] = {
    "as it is": {},
    f"widths to a multiple of {MULTIPLE}": {"BUCKETS": str(MULTIPLE)},
    "primitive cache of 64": {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"},
    "memory trimmed before each step": {"TRIMMED": "1"},
    "memory trimmed before every other step": {"TRIMMED": "2"},
    "large blocks returned at once": {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--worker", action="store_true")
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measured(options.model, options.steps, options.tokens)))
        return
    found = json.loads(RESULT.read_text())["ways"] if RESULT.exists() else {}
    for name in options.only:
        command = [sys.executable, __file__, "--worker", "--model", options.model]
        command += ["--steps", str(options.steps), "--tokens", str(options.tokens)]
        done = subprocess.run(command, env=os.environ | WAYS[name], capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, found[name], flush=True)
        about = {"model": options.model, "tokens": options.tokens, "threads": torch.get_num_threads()}
        found[name]["load"] = round(os.getloadavg()[1], 1)
        RESULT.write_text(json.dumps(about | {"versions": versions(), "ways": found}, indent=2) + "\n")


def measured(name: str, steps: int, tokens: int) -> dict[str, Any]:
    """Of one way, which the environment tells."""
    base = resolve(name, None, Path("~/.cache/forgetfilter").expanduser())
    torch.manual_seed(0)
    model: Any = load_base(base.path, "bfloat16", "sdpa", torch.device("cpu"))
    model = peft.get_peft_model(model, adapter_config(model, LoraConfig(dropout=0.0)))
    attach(model)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-4, fused=True)
    resident, spent, shapes = {"0": memory()}, list[float](), set[tuple[int, ...]]()
    every, rates = int(os.environ.get("TRIMMED", "0")), {False: list[float](), True: list[float]()}
    for step, batch in enumerate(batches(steps, tokens), 1):
        shapes.add(tuple(batch["input_ids"].shape))
        start, trimmed = time.perf_counter(), every > 0 and step % every == 0
        if trimmed:
            ctypes.CDLL(None).malloc_trim(0)
        model(**batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        spent.append(time.perf_counter() - start)
        rates[trimmed].append(batch["input_ids"].numel() / spent[-1])
        if step == 12 or step % 30 == 0:
            resident[str(step)] = memory()
    later = spent[steps // 3 :]
    found = {"resident_gb": resident, "seconds_a_step": round(sum(later) / len(later), 3), "shapes": len(shapes)}
    if every == 2:
        plain, trimmed = (statistics.median(rates[kind]) for kind in (False, True))
        found["trimmed_over_plain_speed"] = round(trimmed / plain, 3)
    return found


def batches(steps: int, tokens: int) -> Any:
    """The micro-batches, in an order without a pattern."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.gamma(2, 50, steps * max(1, tokens // 80)), 8, 400).astype(int)
    order, multiple = rng.permutation(len(lengths)), int(os.environ.get("BUCKETS", "1"))

    parts = np.array_split(order, max(steps, int(lengths.sum()) // tokens))
    for part in parts[:steps]:
        examples = [after_prompt(rng.integers(5, 40000, n).tolist(), n // 2) for n in lengths[part]]
        if multiple > 1:  # the longest example tells the width of all rows
            longest = max(range(len(part)), key=lambda number: lengths[part][number])
            ids, [(prompt, _)] = examples[longest]
            examples[longest] = after_prompt([*ids, *[0] * (-len(ids) % multiple)], prompt)
        yield collate(examples, part.tolist(), "rows", 0)


def memory() -> float:
    lines = Path("/proc/self/status").read_text().split("VmRSS:")[1]
    return round(int(lines.split()[0]) * 1024 / 1e9, 2)


if __name__ == "__main__":
    main()
