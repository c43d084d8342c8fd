"""Models by name: the embedded one, a local folder or a hub id; their identity, tokenizer and loading."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from forgetfilter.errors import UserError, reason
from forgetfilter.models.chat_template import read_template
from forgetfilter.models.embedded import EMBEDDED, embedded_folder
from forgetfilter.models.identity import weights_hash
from forgetfilter.models.limits import fit_tokenizer, limits_of
from forgetfilter.models.model_folder import check_folder
from forgetfilter.models.numerics import Numerics
from forgetfilter.models.pretrained import load_adapter, load_model, load_plain_tokenizer


@dataclass(frozen=True)
class ModelRef:
    """A model on disk and the hash that is its identity (config and weights, not its path, nor its tokenizer)."""

    path: Path
    identity: str


def resolve(name: str, revision: str | None, cache: Path) -> ModelRef:
    """Finds, fetches or converts the model once. Raises UserError where that is impossible."""
    folder = embedded_folder(cache) if name == EMBEDDED else hub_or_folder(name, revision, "model.name")
    return ModelRef(folder, weights_hash(folder, cache))


def hub_or_folder(name: str, revision: str | None, key: str) -> Path:
    """A model's local folder, fetched from the hub if need be; `key` is the config key that a UserError names."""
    if Path(name).expanduser().is_dir():
        folder = Path(name).expanduser()
    elif name.startswith(("/", "./", "../", "~")):
        raise UserError(f"{key}: {name} is not a folder")
    else:
        folder = from_hub(name, revision, key, weights=True)
    check_folder(folder, key)
    return folder


def from_hub(name: str, revision: str | None, key: str, weights: bool) -> Path:
    """The folder to which a model is fetched from the hub, with its weights or without them."""
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.model", "*.txt", "*.jinja", *(["*.safetensors"] if weights else [])]  # no pickles
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub client raises a dozen unrelated types
        told = f"{key}: {name!r} is neither a local folder nor to be had from the hub: {reason(error)}"
        raise UserError(told) from error


def load_tokenizer(folder: Path, chat_template: str | None) -> Any:
    """The tokenizer, with the user's chat template in place of its own where one is given."""
    tokenizer = load_plain_tokenizer(folder, "model.name")
    if chat_template:
        tokenizer.chat_template = read_template(chat_template)
    if tokenizer.eos_token_id is None:
        raise UserError(f"model.name: the tokenizer of {folder} has no end-of-sequence token")
    if not tokenizer.is_fast:
        raise UserError(
            f"model.name: {folder} has no fast tokenizer (tokenizer.json), which says where an answer begins"
        )
    fit_tokenizer(tokenizer, limits_of(folder))
    return tokenizer


def load_base(
    folder: Path, dtype: str, attention: str, device: torch.device | None, four_bit: bool = False
) -> torch.nn.Module:
    """The causal language model, on `device` (None: where DeepSpeed's ZeRO-3 puts it)."""
    import transformers

    quantised: Any = transformers.BitsAndBytesConfig
    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "attn_implementation": attention}
    if four_bit:
        options["quantization_config"] = quantised(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
            # ZeRO-3 and FSDP shard only storage of the compute dtype; uint8 would be copied to every rank
            bnb_4bit_quant_storage=getattr(torch, dtype),
        )
    if device is not None:
        options["device_map"] = {"": str(device)}  # file by file to where it belongs, not through the CPU's memory
    model = load_model("AutoModelForCausalLM", folder, "model.name", **options)
    model.config.use_cache = False  # a cache would turn packed attention off
    if four_bit:
        keep_as_stored(model)
    made: torch.nn.Module = model
    return made


def keep_as_stored(model: torch.nn.Module) -> None:
    """Has bitsandbytes compute from its 4-bit weights as they are on the CPU too.

    For inference it would pack them anew there, in bfloat16, and back whenever a state_dict is made, as peft does for
    each adapter. Both round, so numbers would depend on what was measured before, and would not be those of training.
    """
    layers: Iterator[Any] = model.modules()
    for layer in layers:
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").exists()


class States:
    """Trained states of one base model for use one after the other; adapters share one loaded base.

    Adapters of QLoRA are measured on the 4-bit base that they were trained on, and so is M0.
    """

    def __init__(self, base: ModelRef, numerics: Numerics):
        self.base, self.numerics = base, numerics
        self._shared: Any = None

    def release(self) -> None:
        """Makes room for another model; the base is loaded again when it is asked for."""
        self._shared = None

    @contextlib.contextmanager
    def use(self, trained: Path | None) -> Iterator[torch.nn.Module]:
        """The model of a state, in eval mode; None is M0 itself."""
        if trained is not None and not is_adapter(trained):
            self._shared = None  # make room: two full models need not fit
            yield self._load(trained).eval()
            return
        if self._shared is None:
            self._shared = self._load(self.base.path, self.numerics.four_bit).eval()
        if trained is None:
            yield self._shared
            return
        model = load_adapter(self._shared, trained, "model.name").eval()
        try:
            yield model
        finally:
            self._shared = model.unload()  # takes the adapter out again, unmerged: the base is as it was

    def _load(self, folder: Path, four_bit: bool = False) -> torch.nn.Module:
        own = self.numerics
        return load_base(folder, own.dtype, own.attention, own.device, four_bit)
