"""Compares the likelihoods of BBQ's three answers with lm-evaluation-harness, on the same model, rows and cores.

    pip install lm-eval
    python bench/likelihoods.py --data bbq.jsonl.gz [--questions 40] [--repeats 3] [--model smollm2-135m-instruct]

One run times in turn the project with and without shared prompts, and the harness's HFLM with each of --batches. Rows
are answers. The result, bench/results/likelihoods.json, has the rows a second of each repeat, the ratios to the
harness's fastest batch size, and the largest relative difference between the two in an answer's loss.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from forgetfilter.eval.answer_likelihoods import score_batch

from forgetfilter.config.schema import SourceConfig
from forgetfilter.data import tokens
from forgetfilter.data.batches import plan_scoring
from forgetfilter.data.rendering import prompt_text
from forgetfilter.data.sources import read_rows
from forgetfilter.data.turns import Encoded
from forgetfilter.models.example_losses import attach
from forgetfilter.models.loading import load_base, load_tokenizer, resolve
from forgetfilter.models.numerics import attention_backend
from forgetfilter.storage.run_folder import versions

BATCH_TOKENS = 2048
Question = tuple[str, list[str]]  # with its answers
Scores = np.ndarray[Any, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="BBQ rows: context, question, ans0, ans1, ans2")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = resolve(options.model, None, Path("~/.cache/forgetfilter").expanduser())
    tokenizer = load_tokenizer(base.path, None)
    model: Any = load_base(
        base.path, "bfloat16", attention_backend("auto", device, base.path, "bfloat16"), device
    ).eval()
    questions = read_questions(options.data, options.questions)
    sides: dict[str, Callable[[], Scores]] = {
        "forgetfilter": lambda: ours(model, tokenizer, questions, device, share=True),
        "forgetfilter, prompts not shared": lambda: ours(model, tokenizer, questions, device, share=False),
    }
    for size in options.batches:
        sides[f"lm-evaluation-harness, batches of {size}"] = harness(model, tokenizer, questions, size)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    losses: dict[str, Scores] = {}
    for repeat in range(options.repeats + 1):
        for name, score in sides.items():  # in turn, so that a slow moment of the machine hits all alike
            start = time.perf_counter()
            losses[name] = score()
            if repeat:  # the first round warms up
                rates[name].append(round(3 * len(questions) / (time.perf_counter() - start), 3))
            print(
                f"round {repeat}: {name}: {3 * len(questions) / (time.perf_counter() - start):.1f} rows/s", flush=True
            )
    write(options, device, rates, losses)


def read_questions(path: str, count: int) -> list[Question]:
    """(question, its three answers), spread over the file."""
    rows = [row for _, row in read_rows(SourceConfig(path=path), "bbq")]
    chosen = rows[:: max(1, len(rows) // count)][:count]
    return [(f"{row['context']} {row['question']}", [row[f"ans{n}"] for n in range(3)]) for row in chosen]


def ours(model: Any, tokenizer: Any, questions: list[Question], device: torch.device, share: bool) -> Scores:
    """Losses in nats [questions * 3]; tokenising counts, as it does for the harness."""
    chats = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        for question, answers in questions
        for answer in answers
    ]
    encoded = [(ids, turns) for ids, turns, _ in tokens.encode(tokenizer, chats, 1024)]
    groups: list[list[Encoded]] = [list(encoded[start : start + 3]) for start in range(0, len(encoded), 3)]
    loss_sum = np.zeros(len(encoded)).reshape(-1, 3)
    detach = attach(model)
    lengths = np.array([sum(len(ids) for ids, _ in group) for group in groups])
    for rows in plan_scoring(lengths, BATCH_TOKENS):
        loss_sum[rows] = score_batch(model, [groups[n] for n in rows], device, True, share)[0].reshape(-1, 3)
    detach()
    return loss_sum.ravel()


def harness(model: Any, tokenizer: Any, questions: list[Question], batch_size: int) -> Callable[[], Scores]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm: Any = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=1024)
    requests = []
    for question, answers in questions:
        context = prompt_text(tokenizer, [{"role": "user", "content": question}])
        for number, answer in enumerate(answers):
            pair = (context, answer + tokenizer.eos_token)
            requests.append(Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=number))
    return lambda: -np.array([value for value, _ in lm.loglikelihood(requests, disable_tqdm=True)])


def write(options: Any, device: torch.device, rates: dict[str, list[float]], losses: dict[str, Scores]) -> None:
    from importlib.metadata import version

    medians = {name: statistics.median(values) for name, values in rates.items()}
    peers = [name for name in rates if name.startswith("lm-eval")]
    fastest = max(peers, key=lambda name: medians[name])
    own, peer = losses["forgetfilter"], losses[fastest]
    result = {
        "model": options.model,
        "questions": options.questions,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads",
        "versions": versions() | {"lm_eval": version("lm_eval")},
        "rows_per_second": rates,
        "speed_relative_to_harness": {name: round(value / medians[fastest], 3) for name, value in medians.items()},
        "largest_relative_difference": round(float(np.max(np.abs(own - peer) / peer)), 5),
    }
    path = Path(__file__).parent / "results" / "likelihoods.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["speed_relative_to_harness"], indent=2))


if __name__ == "__main__":
    main()
