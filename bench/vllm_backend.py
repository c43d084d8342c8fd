"""Compares greedy answers and the tokens a second of vLLM and transformers, on the same prompts and cores.

    pip install 'forgetfilter[vllm]'   # on a CPU: a CPU build of vLLM
    python bench/vllm_backend.py [--prompts 32] [--tokens 32] [--repeats 3] [--dtype float32] [--model NAME]

Both run in turn. An answer counts as equal if its whole text is. The result is bench/results/vllm_backend.json.
"""

import argparse
import importlib
import json
import statistics
import time
from pathlib import Path

import torch

from forgetfilter.data.rendering import prompt_text
from forgetfilter.models import vllm_engine
from forgetfilter.models.generation import generate_batch
from forgetfilter.models.loading import load_base, load_tokenizer, resolve
from forgetfilter.models.numerics import attention_backend
from forgetfilter.models.vllm_engine import VllmStates
from forgetfilter.storage.run_folder import versions

TOPICS = ("bread", "rain", "bicycles", "tides", "glass", "maps", "bees", "bridges")
ASKED = ("Explain in a few words how {} came about.", "Write a line about {}.", "Name three facts on {}.", "Why {}?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    options = parser.parse_args()
    vllm_engine.require()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = resolve(options.model, None, Path("~/.cache/forgetfilter").expanduser())
    tokenizer = load_tokenizer(base.path, None)
    questions = [asked.format(topic) for asked in ASKED for topic in TOPICS][: options.prompts]
    texts = [prompt_text(tokenizer, [{"role": "user", "content": text}]) for text in questions]
    plain = load_base(
        base.path, options.dtype, attention_backend("auto", device, base.path, options.dtype), device
    ).eval()
    states = VllmStates(base, options.dtype, [])
    rates: dict[str, list[float]] = {"transformers": [], "vllm": []}
    answers: dict[str, list[tuple[str, int]]] = {}
    with states.use(None) as served:
        for repeat in range(options.repeats + 1):
            for name, model in (("transformers", plain), ("vllm", served)):
                start = time.perf_counter()
                answers[name] = generate_batch(model, tokenizer, texts, options.tokens)
                rate = sum(count for _, count in answers[name]) / (time.perf_counter() - start)
                if repeat:  # the first round warms up
                    rates[name].append(round(rate, 2))
                print(f"round {repeat}: {name}: {rate:.1f} tokens/s", flush=True)
    states.close()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    result = {
        "model": options.model,
        "prompts": len(texts),
        "max_new_tokens": options.tokens,
        "dtype": options.dtype,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads",
        "versions": versions() | {"vllm": importlib.import_module("vllm").__version__},
        "tokens_per_second": rates,
        "speed_of_vllm": round(medians["vllm"] / medians["transformers"], 2),
        "equal_answers": sum(one == two for one, two in zip(*answers.values(), strict=True)) / len(texts),
    }
    path = Path(__file__).parent / "results" / "vllm_backend.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("speed_of_vllm", "equal_answers")}))


if __name__ == "__main__":  # vLLM starts its processes by running this file again
    main()
