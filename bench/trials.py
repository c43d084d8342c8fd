"""One timed training or scoring, by the project or by a peer, over the same rows: the parts of gpu.py and peers.py.

Rows are random letters of a given length, so nothing is downloaded. A training is the project's own
(train/finetuning.py with its trainer, hook and plan); TRL is given the same token ids with the same labels. Each
training has a few steps, of which the first are not counted.
"""

import contextlib
import gc
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from forgetfilter.train.finetuning import make_plan, train
from forgetfilter.train.stage import settings

from forgetfilter.config.load import load_config
from forgetfilter.config.schema import LoraConfig
from forgetfilter.data.records import make_records, read_records, write_records
from forgetfilter.data.rendering import prompt_text
from forgetfilter.data.token_files import Prepared, prepare
from forgetfilter.data.turns import label_places
from forgetfilter.models.ceiling import shape_of
from forgetfilter.models.loading import load_base
from forgetfilter.models.lora_targets import adapter_config
from forgetfilter.models.loss_pass import LossPass, score_prepared
from forgetfilter.models.plan.costs import forward_operations, useful_operations
from forgetfilter.process.distributed import World, process_group
from forgetfilter.process.tracking import Tracker
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import merged

WARM = 2  # steps that are not counted


@dataclass(frozen=True)
class Rows:
    """Rows of data by their length in characters, which a tokenizer of bytes takes for tokens; half is the prompt."""

    count: int
    mean: int
    spread: bool = False
    """Whether lengths follow a gamma law, as those of real answers do; else all are alike."""

    def lengths(self) -> list[int]:
        drawn = (
            np.random.default_rng(0).gamma(2, self.mean / 2, self.count) if self.spread else [self.mean] * self.count
        )
        return [int(n) for n in np.clip(drawn, 16, 8 * self.mean)]

    def turns(self) -> Iterator[list[dict[str, str]]]:
        rng = np.random.default_rng(1)
        for length in self.lengths():
            text = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), length))
            words = " ".join(text[start : start + 5] for start in range(0, length, 6))
            half = len(words) // 2
            yield [
                {"role": "user", "content": f"{words[:half]}?"},
                {"role": "assistant", "content": f"a{words[half:]}"},
            ]


def sync() -> None:
    """Waits for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Clock(Tracker):
    """Takes the time of each step that the trainer logs."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        if "loss" in values:
            self.note()

    def note(self) -> None:
        sync()
        self.times.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Of the steps that count."""
        return self.times[-1] - self.times[WARM - 1]


def make_run(folder: Path, name: str, rows: Rows, batch: int, overrides: Sequence[str]) -> Run:
    """A run whose noisy data is there, and nothing else; one epoch of steps of `batch` examples."""
    file = folder / "trial.yaml"
    file.write_text(
        f"output: {folder}/runs\ncache: {folder}/cache\ntracking: {{mode: disabled}}\n"
        "data: {noisy: {made: {path: x}}, safe: {made: {path: x}}, max_length: 2048}\n"
        f"train: {{checkpoint_steps: 0, noisy: {{epochs: 1, batch_size: {batch}}}}}\n"
    )
    run = Run.create(load_config(file, [f"name={name}", *overrides]), resume=True)
    write_records(run.noisy_data, make_records((turns, "made", None) for turns in rows.turns()))
    with run.stage("mix", "by hand"):
        return run


def prepared_rows(run: Run) -> Prepared:
    task = settings(run, "noisy")
    return prepare(task.data, task.model.tokenizer(), task.max_length, task.model.cache)


@contextlib.contextmanager
def own_memory() -> Iterator[Callable[[], float]]:
    """Room for a trial, and its peak in GB: of the GPU, or on a CPU of the process's whole life."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield lambda: round((_gpu_bytes() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024) / 1e9, 2)
    gc.collect()


def _gpu_bytes() -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def train_ours(run: Run) -> dict[str, Any]:
    """tokens, labels and seconds of the steps that count, tokens_per_s, operations as the meters count them (None where
    they do not), seconds to the first step, peak_gb."""
    clock, start = Clock(), time.perf_counter()
    task = replace(settings(run, "noisy"), track=lambda: contextlib.nullcontext(clock))
    with own_memory() as peak, process_group() as world:
        train(task, world)
        found = {"peak_gb": peak(), "first_step_s": round(clock.times[0] - start, 1)}
    plan = make_plan(task, prepared_rows(run), World(0, 1, 0))
    rows = np.concatenate([plan.rows(step) for step in range(WARM, len(clock.times))])
    full = task.options.method == "full"
    shape = shape_of(task.model.base().path, None if full else task.options.lora)
    lengths, labels = plan.lengths[rows], plan.num_labels[rows]
    found["operations"] = useful_operations(shape, lengths, labels, full) if shape else None
    return found | _rates(int(lengths.sum()), int(labels.sum()), clock.seconds)


def _rates(tokens: int, labels: int, seconds: float) -> dict[str, Any]:
    rates = {"tokens": tokens, "labels": labels, "seconds": round(seconds, 3)}
    return rates | {"tokens_per_s": round(tokens / seconds, 1)}


def train_trl(run: Run, batch: int, dtype: str, steps: int, **chosen: Any) -> dict[str, Any]:
    """The same rows by TRL's SFTTrainer, `batch` rows a step; `chosen` are its own settings. With packing, a row has
    max_length tokens. Tokens are those of the data, padding not counted."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    prepared, task, clock, seen = prepared_rows(run), settings(run, "noisy"), Clock(), list[int]()

    class Timed(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            clock.note()
            seen.append(int(state.num_input_tokens_seen))

    rows = [prepared.row(number) for number in range(len(prepared))]
    data = Dataset.from_list(
        [
            {
                "input_ids": [*map(int, ids)],
                "completion_mask": np.isin(np.arange(len(ids)), label_places(turns)).astype(int),
            }
            for ids, turns in rows
        ]
    )
    cpu = not torch.cuda.is_available()
    args = SFTConfig(
        output_dir=str(run.folder / "trl"), max_steps=steps + WARM, per_device_train_batch_size=batch,
        learning_rate=2e-4, logging_steps=1, report_to=[], bf16=dtype == "bfloat16", use_cpu=cpu,
        save_strategy="no", gradient_checkpointing=False, include_num_input_tokens_seen="non_padding",
        disable_tqdm=True, **{"max_length": 2048} | chosen,
    )  # fmt: skip
    with own_memory() as peak:
        model: Any = AutoModelForCausalLM.from_pretrained(task.model.base().path, dtype=getattr(torch, dtype))
        lora = adapter_config(model, LoraConfig())
        SFTTrainer(
            model=model, args=args, train_dataset=data, processing_class=task.model.tokenizer(), callbacks=[Timed()],
            peft_config=lora,
        ).train()  # fmt: skip
        return {"peak_gb": peak()} | _rates(seen[-1] - seen[WARM - 1], 0, clock.seconds)


def score_ours(run: Run, dtype: str, batch_tokens: int) -> dict[str, Any]:
    """A scoring of all rows under M0, after one of a few that is not counted."""
    prepared, task = prepared_rows(run), settings(run, "noisy")
    how = LossPass(batch_tokens, 4096)
    with own_memory() as peak, process_group() as world:
        attention = replace(task.model, dtype=dtype).on(world.device).attention
        model = load_base(task.model.base().path, dtype, attention, world.device).eval()
        for name in ("warm", "counted"):
            start = time.perf_counter()
            score_prepared(model, prepared, run.folder / "scored" / name, how, world, name)
        seconds = time.perf_counter() - start
        scored = merged(run.folder / "scored" / name, prepared.table["id"].to_pylist())
        by_id = dict(zip(scored["id"], scored["loss_sum"]))
        losses = [round(by_id[id_], 4) for id_ in prepared.table["id"].to_pylist()]
        shape, lengths, labels = shape_of(task.model.base().path, None), prepared.lengths(), prepared.num_labels()
        operations = forward_operations(shape, lengths, labels) if shape else None
        rates = _rates(int(lengths.sum()), int(labels.sum()), seconds)
        return {"peak_gb": peak(), "losses": losses, "operations": operations} | rates


def score_harness(run: Run, dtype: str, batch: int) -> dict[str, Any]:
    """The losses of the answers of all rows by lm-evaluation-harness, after one pass over a few that is not counted."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM

    prepared, task = prepared_rows(run), settings(run, "noisy")
    tokenizer = task.model.tokenizer()
    with own_memory() as peak:
        model: Any = AutoModelForCausalLM.from_pretrained(task.model.base().path, dtype=getattr(torch, dtype)).eval()
        harness: Any = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=2048)
        requests = []
        for record in read_records(task.data):
            text = (prompt_text(tokenizer, record.prompt), record.answer + tokenizer.eos_token)
            requests.append(Instance(request_type="loglikelihood", doc={}, arguments=text, idx=0))
        harness.loglikelihood(requests[:batch], disable_tqdm=True)
        start = time.perf_counter()
        losses = [-value for value, _ in harness.loglikelihood(requests, disable_tqdm=True)]
        seconds = time.perf_counter() - start
        rates = _rates(int(prepared.lengths().sum()), int(prepared.num_labels().sum()), seconds)
        return {"peak_gb": peak(), "losses": [round(value, 4) for value in losses]} | rates
