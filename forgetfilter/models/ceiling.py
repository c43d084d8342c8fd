"""The share of a device's ceiling that a pass reaches: the operations that its tokens need, over those that it can do.

The ceiling is the rate of a plain matrix product in the type that is computed in, the largest that a device of this
kind reaches under this torch. It is measured once, in a fraction of a second, outside of every pass, and kept in the
cache. On a CPU that has other work it comes out too low; a share above 1, which shows this, is not told.
"""

import contextlib
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from forgetfilter.config.schema import LoraConfig
from forgetfilter.errors import UserError
from forgetfilter.files import read_json, sha256_file, sha256_value, write_json
from forgetfilter.models.plan.costs import Array, Shape, forward_operations, useful_operations
from forgetfilter.models.pretrained import load_config
from forgetfilter.models.rehearsal import Training, outline, parameters
from forgetfilter.process.distributed import World, shared

LARGEST = 8192  # rows and columns of the matrices; 400 MB in 16 bits, all three
ENOUGH = 0.01  # seconds of a product: a shorter one measures its call
TIMES = 4  # of which the shortest counts
LEAST = 1e12  # operations of a pass: a shorter one is over before its rate says anything
ATTENTIONS = {"full_attention", "sliding_attention"}
_shapes: dict[tuple[Path, str, str], Shape | None] = {}  # by folder, content of config.json and adapter


@dataclass(frozen=True)
class Arithmetic:
    """The operations of a model, and how many a second the device of one rank does at most."""

    shape: Shape
    ceiling: float
    trained: bool | None = None
    """None for a forward pass alone; True where all weights are trained, False where only adapters are."""

    def operations(self, lengths: Array, labels: Array) -> float:
        """Of examples of so many tokens and label tokens, without what is computed again."""
        if self.trained is None:
            return forward_operations(self.shape, lengths, labels)
        return useful_operations(self.shape, lengths, labels, self.trained)


@dataclass(frozen=True)
class Asked:
    """What is asked of a device, as far as its arithmetic depends on it."""

    folder: Path
    """Of the released model."""
    dtype: str
    """That is computed in."""
    cache: Path
    lora: LoraConfig | None = None
    trained: bool | None = None
    """As in Arithmetic."""


def arithmetic(asked: Asked, lengths: Array, labels: Array, world: World) -> Arithmetic | None:
    """That of a pass over examples; to be called by every rank. None where the model's operations cannot be counted
    from its config, or where the pass is too short."""
    shape = shape_of(asked.folder, asked.lora)
    if shape is None or Arithmetic(shape, 1.0, asked.trained).operations(lengths, labels) < LEAST:
        return None
    rate = None
    with contextlib.suppress(torch.OutOfMemoryError):
        rate = ceiling(world.device, asked.dtype, asked.cache) if world.is_main else None
    rate = shared(rate)
    return None if rate is None else Arithmetic(shape, rate, asked.trained)


def shape_of(folder: Path, lora: LoraConfig | None) -> Shape | None:
    """The shape of the model that a folder's config.json describes, with its adapter. None where a token does not go
    once through every matrix, as in a mixture of experts, or where something else than attention mixes tokens."""
    key = (folder, sha256_file(folder / "config.json"), repr(lora))
    if key not in _shapes:
        _shapes[key] = None
        with contextlib.suppress(Exception):  # a meter must not cost a training
            _shapes[key] = _counted(folder, lora)
    return _shapes[key]


def _counted(folder: Path, lora: LoraConfig | None) -> Shape | None:
    config = load_config(folder, "model.name")
    own = config.get_text_config()
    kinds = set(getattr(own, "layer_types", None) or ["full_attention"])
    if own is not config or not kinds <= ATTENTIONS or not getattr(own, "num_attention_heads", None):
        return None
    if hasattr(own, "v_head_dim"):  # heads of two widths
        return None
    model = outline(folder, Training(lora, "float32", None, "eager", False, False))
    if any(weight.dim() > 2 or "expert" in name for name, weight in model.named_parameters()):
        return None
    return Shape.of(own, parameters(model))


def ceiling(device: torch.device, dtype: str, kept: Path) -> float:
    """Operations a second of a matrix product; measured where the cache does not know the device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    threads = 0 if device.type == "cuda" else torch.get_num_threads()
    about = {"device": name, "threads": threads, "dtype": dtype, "torch": torch.__version__}
    file = kept / "ceilings" / f"{sha256_value(about)[:24]}.json"
    with contextlib.suppress(UserError, KeyError, TypeError, ValueError):
        if (known := float(read_json(file)["operations_per_second"])) > 0:
            return known
    found = _measured(device, getattr(torch, dtype))
    with contextlib.suppress(OSError, UserError):  # a full disk costs the measurement alone
        write_json(file, about | {"operations_per_second": found})
    return found


def _measured(device: torch.device, dtype: torch.dtype) -> float:
    size = 256
    while True:
        size *= 2
        first, second = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
        seconds = min(_seconds(first, second) for _ in range(TIMES))
        if seconds >= ENOUGH or size >= LARGEST:
            return float(2 * size**3 / seconds)


def _seconds(first: torch.Tensor, second: torch.Tensor) -> float:
    """Of one product, of as many one after the other as a GPU needs to be busy."""
    count = 10 if first.device.type == "cuda" else 1
    _wait(first.device)
    start = time.perf_counter()
    for _ in range(count):
        first @ second
    _wait(first.device)
    return (time.perf_counter() - start) / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    return platform.processor() or platform.machine()
