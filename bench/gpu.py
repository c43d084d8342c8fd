"""Makes the speed table of one large GPU and compares with TRL, in some minutes; models have random weights.

    python bench/gpu.py [--folder /dev/shm/forgetfilter-bench] [--limit 300] [--whole] [--tiny]

It needs the project, torch and transformers; it names other packages that are missing and leaves out what needs them.
It makes two models (Llamas of 6.9 and 3.2 billion parameters), measures the matrix product that is the ceiling, checks
that the project's losses equal those of transformers, times the trainings and scorings of ROWS, profiles two
micro-batches, and prints the tables last. Once the limit in seconds is near, rows are left out unless --whole is given.
Tokens are those of the data. Operations are those of the meters and of `forgetfilter plan`
(forgetfilter/models/plan/costs.py): 4N a token for LoRA, 6N in full finetuning and 2N for scoring, with attention, and
with the output layer only for label tokens. The last table says of each aim what was measured, or that it was not.
--tiny tries everything on any machine with small shapes; its figures mean nothing. The
result is bench/results/gpu-CARD.json (with --tiny it goes to the folder).
"""

import argparse
import importlib.util
import json
import re
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from forgetfilter.train import finetuning
from gpu_tables import tables
from trials import Rows, make_run, prepared_rows, score_ours, sync, train_ours, train_trl

from forgetfilter.config.schema import LoraConfig
from forgetfilter.data.batches import collate, layout_for
from forgetfilter.data.turns import label_places
from forgetfilter.models.ceiling import ceiling
from forgetfilter.models.example_losses import attach, to_device
from forgetfilter.models.loading import load_base
from forgetfilter.models.lora_targets import adapter_config
from forgetfilter.models.loss_pass import score_encoded
from forgetfilter.models.numerics import attention_backend
from forgetfilter.models.plan.estimate import planned
from forgetfilter.models.plan.planning import Machine as Planned
from forgetfilter.models.plan.rows import Rows as PlannedRows
from forgetfilter.storage.run_folder import versions

RESULTS = Path(__file__).parent / "results"
PACKAGES = {
    "bitsandbytes": "QLoRA", "trl": "the peer", "liger_kernel": "the peer at its best",
    "flash_attn": "model.attention=flash_attention_2 (varlen does without)", "deepspeed": "ZeRO",
}  # fmt: skip
AGREEMENT = 2e-2  # of a loss in bfloat16, relative; tests hold float32 to 1e-4
STEPS = 8  # that count
LEAN = ("train.method=full", "train.optimizer=adamw_8bit", "train.gradient_checkpointing=true")
HEADS7 = {"num_attention_heads": 32, "num_key_value_heads": 32}
SHAPES: dict[str, dict[str, Any]] = {
    "7B": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, **HEADS7, "vocab_size": 49152},
    "3B": {
        "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24,
        "num_key_value_heads": 8, "vocab_size": 49152, "tie_word_embeddings": True,
    },
}  # fmt: skip
TINY = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 512}  # fmt: skip


@dataclass
class Machine:
    """Where and how large everything is."""

    folder: Path
    tiny: bool
    device: torch.device
    found: dict[str, Any] = field(default_factory=dict)
    """Results by the names of the table's rows."""

    @property
    def long(self) -> Rows:
        return Rows(6 * (STEPS + 2), 100) if self.tiny else Rows(12 * (STEPS + 2), 2000)

    @property
    def short(self) -> Rows:
        return Rows(8 * (STEPS + 2), 30, spread=True) if self.tiny else Rows(192 * (STEPS + 2), 97, spread=True)

    def run(self, name: str, model: str, rows: Rows, *overrides: str) -> Any:
        batch = rows.count // (STEPS + 2)
        return make_run(self.folder, name, rows, batch, [f"model.name={self.folder / model}", *overrides])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/forgetfilter-bench"))
    parser.add_argument("--limit", type=float, default=300)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here: --tiny tries the bench on a CPU")
    start = time.perf_counter()
    options.folder.mkdir(parents=True, exist_ok=True)
    machine = Machine(options.folder, options.tiny, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    for name, work in rows(machine, missing).items():
        if options.whole or time.perf_counter() - start < options.limit - 20:
            machine.found[name] = tried(name, work)
            print(f"[{time.perf_counter() - start:5.0f} s] {name}: {json.dumps(machine.found[name])[:400]}", flush=True)
        else:
            machine.found[name] = {"left_out": "no time"}
    write(machine, missing, time.perf_counter() - start)
    shutil.rmtree(options.folder / "runs", ignore_errors=True)


def tried(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """One that fails costs its own row alone."""
    try:
        return {key: value for key, value in work().items() if key != "losses"}
    except Exception as error:
        traceback.print_exc(limit=-4)
        return {"failed": f"{type(error).__name__}: {str(error)[:300]}"}


def rows(machine: Machine, missing: list[str]) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is done, in this order."""
    long, short, run, dtype = machine.long, machine.short, machine.run, "bfloat16"
    liger = {"use_liger_kernel": True} if "liger_kernel" not in missing and not machine.tiny else {}
    trl: dict[str, Callable[[], dict[str, Any]]] = {
        "TRL padded, 7B, short rows": lambda: train_trl(run("trl", "7B", short), 16, dtype, STEPS, **liger),
        "TRL padded, 7B, 2,000-token rows": lambda: train_trl(run("trl", "7B", long), 4, dtype, STEPS, **liger),
        "TRL packed (mixing), 7B, short rows": lambda: train_trl(
            run("trl", "7B", short), 2, dtype, STEPS, packing=True, packing_strategy="wrapped", **liger
        ),
    }
    return {
        "ceiling": lambda: {"tflops": ceiling(machine.device, dtype, machine.folder / "cache") / 1e12},
        "model 7B": lambda: make_model(machine, "7B"),
        "losses agree": lambda: agreement(machine),
        "LoRA 7B, 2,000-token rows": lambda: train_ours(run("long", "7B", long)),
        "LoRA 7B, short rows": lambda: train_ours(run("short", "7B", short)),
        **({} if "trl" in missing else dict(list(trl.items())[:1])),
        "scoring 7B, short rows": lambda: score_ours(run("score-short", "7B", short), dtype, 16384),
        "profile": lambda: profiled(machine),
        **({} if "bitsandbytes" in missing else {
            "QLoRA 7B, short rows": lambda: train_ours(run("qlora", "7B", short, "train.method=qlora")),
        }),
        **({} if "trl" in missing else dict(list(trl.items())[1:])),
        "LoRA 7B, 2,000-token rows, planned": lambda: beside_plan(machine),
        "LoRA 7B, 2,000-token rows, hook off": lambda: train_ours(run("off", "7B", long, "train.log_losses=false")),
        "LoRA 7B, 2,000-token rows, adapters in bfloat16": lambda: half_adapters(run("half", "7B", long)),
        "scoring 7B, 2,000-token rows": lambda: score_ours(run("score-long", "7B", long), dtype, 16384),
        "LoRA 7B, checkpointing, 16,384 tokens": lambda: train_ours(
            run("again", "7B", long, "train.gradient_checkpointing=true", "train.micro_batch_tokens=16384")
        ),
        "model 3B": lambda: make_model(machine, "3B"),
        "full 3B, 2,000-token rows": lambda: train_ours(run("full", "3B", long, "train.method=full")),
        **({} if "bitsandbytes" in missing else {
            "full 7B, 8-bit AdamW, checkpointing": lambda: train_ours(run("full8", "7B", long, *LEAN)),
        }),
    }  # fmt: skip


def beside_plan(machine: Machine) -> dict[str, Any]:
    """A training whose micro-batches are fixed, so that its memory can be planned, and what the plan says of it."""
    run = machine.run("planned", "7B", machine.long, "train.micro_batch_tokens=8192")
    prepared = prepared_rows(run)
    sets = {"noisy": PlannedRows(prepared.lengths(), prepared.num_labels(), 0)}
    held = planned(run.config, machine.folder / "7B", sets, Planned(80.0, 2.0, 50.0, None)).alone
    return train_ours(run) | {"planned_gb": round(held.total / 1e9, 2)}


def half_adapters(run: Any) -> dict[str, Any]:
    """Adapters computed in bfloat16 by autocast, their weights in float32 as ever: to be taken if it is faster."""
    made = finetuning.trainable

    def cast(*given: Any) -> Any:
        model: Any = made(*given)
        model.forward = torch.autocast(next(model.parameters()).device.type, torch.bfloat16)(model.forward)
        return model

    finetuning.trainable = cast
    try:
        return train_ours(run)
    finally:
        finetuning.trainable = made


def make_model(machine: Machine, name: str) -> dict[str, Any]:
    """A Llama with random weights and a tokenizer of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={"</s>": 0} | {c: i for i, c in enumerate(alphabet, 1)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", pad_token="</s>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    shape = TINY if machine.tiny else SHAPES[name]
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with machine.device:
        config = LlamaConfig(**shape, max_position_embeddings=4096, bos_token_id=None, eos_token_id=0, pad_token_id=0)
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(before)
    model.save_pretrained(machine.folder / name)
    tokenizer.save_pretrained(machine.folder / name)
    head = shape["vocab_size"] * shape["hidden_size"]
    every = sum(one.numel() for one in model.parameters())
    return {"parameters": every, "head": head, "body": every - head * (1 if shape.get("tie_word_embeddings") else 2)}


def agreement(machine: Machine) -> dict[str, Any]:
    """The largest relative difference of an example's loss in packed batches from the one that transformers gives it
    alone."""
    prepared = prepared_rows(machine.run("agree", "7B", machine.short))
    some = [prepared.row(number) for number in range(16)]
    model: Any = load(machine)
    packed, counts = score_encoded(model, some, 16384, machine.device)
    alone = []
    for (ids, turns), count in zip(some, counts):
        tokens = torch.tensor([[*map(int, ids)]], device=machine.device)
        labels, learned = torch.full_like(tokens, -100), torch.from_numpy(label_places(turns)).to(machine.device)
        labels[0, learned] = tokens[0, learned]
        with torch.inference_mode():
            alone.append(float(model(input_ids=tokens, labels=labels).loss) * int(count))
    worst = float(np.max(np.abs(packed - alone) / alone))
    return {"largest_difference": worst, "agree": worst < AGREEMENT, "attention": model.config._attn_implementation}


def load(machine: Machine) -> torch.nn.Module:
    attention = attention_backend("auto", machine.device, machine.folder / "7B", "bfloat16")
    return load_base(machine.folder / "7B", "bfloat16", attention, machine.device).eval()


def profiled(machine: Machine) -> dict[str, Any]:
    """Of forward and backward passes of LoRA over a packed batch of short rows: wall time, the share in which the
    device works, and the costliest kernels."""
    import peft
    from torch.profiler import ProfilerActivity, profile

    base = load(machine)
    model: Any = peft.get_peft_model(base, adapter_config(base, LoraConfig())).train()
    attach(model)
    prepared, layout = (
        prepared_rows(machine.run("agree", "7B", machine.short)),
        layout_for(model.config._attn_implementation, True),
    )
    numbers = range(16 if machine.tiny else 80)
    batch = to_device(collate([prepared.row(n) for n in numbers], numbers, layout, 0), machine.device)

    def once() -> None:
        model(**batch)["loss"].backward()

    once()
    sync()
    start = time.perf_counter()
    for _ in range(2):
        once()
    sync()
    wall = (time.perf_counter() - start) / 2
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if machine.device.type == "cuda" else [])]
    with profile(activities=kinds) as seen:
        once()
        once()
        sync()
    clock = "self_device_time_total" if machine.device.type == "cuda" else "self_cpu_time_total"
    spent = {event.key[:90]: getattr(event, clock) / 2e3 for event in seen.key_averages()}
    costliest = sorted(spent.items(), key=lambda pair: -pair[1])[:12]
    busy = {"device_ms": round(sum(spent.values()), 1), "busy": round(sum(spent.values()) / wall / 1e3, 3)}
    told = {"tokens": int(batch["input_ids"].numel()), "wall_ms": round(wall * 1e3, 1)}
    return told | (busy if machine.device.type == "cuda" else {}) | {"costliest_ms": costliest}


def write(machine: Machine, missing: list[str], seconds: float) -> None:
    """The result file and the table."""
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    about = {"card": card, "seconds": round(seconds), "missing": missing, "versions": versions()}
    name = f"gpu-{re.sub(r'[^A-Za-z0-9]+', '-', card)}.json"
    path = (machine.folder if machine.tiny else RESULTS) / name
    path.write_text(json.dumps(about | {"rows": machine.found}, indent=2) + "\n")
    print(f"\nmissing here: {', '.join(f'{one} ({PACKAGES[one]})' for one in missing) or 'nothing'}")
    print(f"written to {path}\n\n{card}: {machine.found.get('ceiling')}; {machine.found.get('losses agree')}")
    print(tables(machine.found))


if __name__ == "__main__":
    main()
