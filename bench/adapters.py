"""In which dtype an adapter on a bfloat16 base is computed: speed and loss of each way, in turn in one process.

    python bench/adapters.py [--repeats 6] [--tokens 512] [--model smollm2-135m-instruct]

Ways: float32 as training has it; float32 weights that autocast computes in bfloat16; bfloat16 weights (with which
training would need float32 copies in the optimizer). A step is a forward and a backward pass of LoRA (dropout off) over
one packed batch, the same for all ways; A is drawn alike and B is made of small numbers, so that the adapter counts.
Written to bench/results/adapters.json: tokens a second of each repeat, the median ratio to the first way, and how far
the loss and the gradients of B are from those of the first way.
"""

import argparse
import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from peft.helpers import disable_input_dtype_casting

from forgetfilter.config.schema import LoraConfig
from forgetfilter.data.batches import collate, layout_for
from forgetfilter.data.turns import after_prompt
from forgetfilter.models.example_losses import attach, to_device
from forgetfilter.models.loading import load_base, resolve
from forgetfilter.models.lora_targets import adapter_config
from forgetfilter.models.numerics import attention_backend
from forgetfilter.storage.run_folder import versions

RESULT = Path(__file__).parent / "results" / "adapters.json"
WAYS = ("float32", "float32 under autocast", "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = resolve(options.model, None, Path("~/.cache/forgetfilter").expanduser())
    attention = attention_backend("auto", device, base.path, "bfloat16")
    rng = np.random.default_rng(0)
    lengths = rng.multinomial(options.tokens - 80, [0.1] * 10) + 8
    rows = [after_prompt(rng.integers(5, 40000, int(n)).tolist(), int(n) // 2) for n in lengths]
    batch = to_device(collate(rows, range(len(rows)), layout_for(attention, True), 0), device)
    models = {way: adapted(load_base(base.path, "bfloat16", attention, device), way) for way in WAYS}
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    seen: dict[str, tuple[float, torch.Tensor]] = {}
    for repeat in range(options.repeats + 1):
        for way, (model, context) in models.items():  # in turn, so that a slow moment of the machine hits all alike
            start = time.perf_counter()
            with context():
                loss = model(**batch)["loss"]
            loss.backward()
            seen[way] = float(loss.detach()), gradient(model)
            if repeat:  # the first round warms up
                rates[way].append(round(int(lengths.sum()) / (time.perf_counter() - start), 1))
    write(options, device, rates, seen)


def adapted(base: Any, way: str) -> tuple[Any, Callable[[], AbstractContextManager[Any]]]:
    """The model with its adapter, and what its forward pass runs in."""
    torch.manual_seed(0)
    lora = adapter_config(base, LoraConfig(dropout=0.0))
    model: Any = peft.get_peft_model(base, lora, autocast_adapter_dtype=way != "bfloat16")
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.01)
    attach(model.train())
    if way != "float32 under autocast":
        return model, contextlib.nullcontext

    @contextlib.contextmanager
    def autocast() -> Any:
        with disable_input_dtype_casting(model), torch.autocast(next(model.parameters()).device.type, torch.bfloat16):
            yield

    return model, autocast


def gradient(model: Any) -> torch.Tensor:
    """Of all B, and leaves none behind."""
    found = torch.cat([one.grad.float().flatten() for name, one in model.named_parameters() if "lora_B" in name])
    model.zero_grad()
    return found


def write(options: Any, device: torch.device, rates: dict[str, list[float]], seen: dict[str, Any]) -> None:
    first_loss, first = seen[WAYS[0]]
    ways = {
        way: {
            "tokens_per_s": rates[way],
            "speed": round(statistics.median(a / b for a, b in zip(rates[way], rates[WAYS[0]])), 3),
            "loss_difference": round(abs(seen[way][0] - first_loss) / first_loss, 6),
            "gradient_difference": round(float((seen[way][1] - first).norm() / first.norm()), 4),
        }
        for way in WAYS
    }
    about = {"model": options.model, "tokens": options.tokens, "threads": torch.get_num_threads()}
    about["device"] = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    about["load"] = round(os.getloadavg()[1], 1)
    RESULT.write_text(json.dumps(about | {"versions": versions(), "ways": ways}, indent=2) + "\n")
    print(json.dumps(ways, indent=2))


if __name__ == "__main__":
    main()
