"""Compares batched greedy generation with generation one by one, on the same model, prompts and cores in one run.

    python bench/generation.py [--prompts 16] [--tokens 24] [--repeats 2] [--model smollm2-135m-instruct]

Both sides use models.generation.generate_batch. The result, bench/results/generation.json, has the generated tokens a
second of each repeat, the ratio, and how many answers differ (in low precision a batch may break ties differently).
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from forgetfilter.data.rendering import prompt_text
from forgetfilter.models.generation import generate_batch
from forgetfilter.models.loading import load_base, load_tokenizer, resolve
from forgetfilter.models.numerics import attention_backend
from forgetfilter.storage.run_folder import versions

THINGS = ("a bridge", "the rain", "a small town", "bread", "the moon", "an old map", "a quiet lake", "chess")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = resolve(options.model, None, Path("~/.cache/forgetfilter").expanduser())
    tokenizer = load_tokenizer(base.path, None)
    model: Any = load_base(
        base.path, "bfloat16", attention_backend("auto", device, base.path, "bfloat16"), device
    ).eval()
    asked = [f"Write {n + 3} sentences about {THINGS[n % len(THINGS)]}." for n in range(options.prompts)]
    texts = [prompt_text(tokenizer, [{"role": "user", "content": text}]) for text in asked]
    sizes = {"batched": len(texts), "one by one": 1}
    rates: dict[str, list[float]] = {name: [] for name in sizes}
    answers: dict[str, list[str]] = {}
    for repeat in range(options.repeats + 1):
        for name, size in sizes.items():  # in turn, so that a slow moment of the machine hits both
            start, made = time.perf_counter(), []
            for first in range(0, len(texts), size):
                made += generate_batch(model, tokenizer, texts[first : first + size], options.tokens)
            rate = round(sum(count for _, count in made) / (time.perf_counter() - start), 2)
            answers[name] = [text for text, _ in made]
            if repeat:  # the first round warms up
                rates[name].append(rate)
            print(f"round {repeat}: {name}: {rate} tokens/s", flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    result = {
        "model": options.model,
        "prompts": options.prompts,
        "max_new_tokens": options.tokens,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads",
        "versions": versions(),
        "tokens_per_second": rates,
        "speed_of_batched": round(medians["batched"] / medians["one by one"], 2),
        "answers_that_differ": sum(one != two for one, two in zip(*answers.values(), strict=True)),
    }
    path = Path(__file__).parent / "results" / "generation.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("speed_of_batched", "answers_that_differ")}))


if __name__ == "__main__":
    main()
