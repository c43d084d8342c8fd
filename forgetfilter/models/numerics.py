"""What `auto` stands for on this machine: dtype and attention, on which all numbers of a model depend."""

import contextlib
import importlib
from dataclasses import dataclass
from pathlib import Path

import torch

from forgetfilter.errors import UserError
from forgetfilter.models import varlen
from forgetfilter.models.pretrained import load_config

# The attentions, the fastest first, each with the class attributes by which a model says that it has it. What the
# variable-length kernel lacks (a cap, sinks) SDPA lacks too, so it takes only models that have all three.
ATTENTIONS = {
    "flash_attention_3": ("_supports_flash_attn",),
    "flash_attention_2": ("_supports_flash_attn",),
    varlen.NAME: ("_supports_flash_attn", "_supports_sdpa", "_supports_attention_backend"),
    "sdpa": ("_supports_sdpa",),
}
FLASH = {"flash_attention_3": "flash_attn_interface", "flash_attention_2": "flash_attn"}  # the modules that they load
HALF = ("bfloat16", "float16")  # the kernels that need no mask compute in nothing else


@dataclass(frozen=True)
class Numerics:
    """How a model computes here."""

    dtype: str
    """Of weights and activations."""
    attention: str
    device: torch.device
    four_bit: bool = False
    """Whether the base model's weights are stored in 4 bits (nf4)."""

    @property
    def storage(self) -> str:
        """The dtype as manifests name it: of a 4-bit model that of the stored weights."""
        return "nf4" if self.four_bit else self.dtype


def attention_backend(wanted: str, device: torch.device, folder: Path, dtype: str) -> str:
    """The attention that `auto` stands for here, for the model in a folder: the fastest that both have.

    UserError for one that the device or the model does not have. (Gemma 2 caps what its attention compares, which
    SDPA cannot.)
    """
    known = attentions(folder)
    if wanted == "auto":
        wanted = next(one for one in known if not _lacking(one, device, dtype))
    elif lacking := _lacking(wanted, device, dtype):
        raise UserError(f"model.attention: {wanted} needs {lacking}; use auto or sdpa")
    elif wanted not in known:
        raise UserError(f"model.attention: {wanted} is not among the model's ({', '.join(known)}); use auto")
    if wanted == varlen.NAME and (kernel := varlen.find_kernel()):
        varlen.register(kernel)
    return wanted


def attentions(folder: Path) -> tuple[str, ...]:
    """The attentions that the model has, the fastest first; all where transformers has no such class."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    config = load_config(folder, "model.name")
    made = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    has = [name for name, flags in ATTENTIONS.items() if all(getattr(made, flag, True) for flag in flags)]
    return (*(name for name in has if name != varlen.NAME or varlen.fits(config)), "eager")


def _lacking(attention: str, device: torch.device, dtype: str) -> str:
    """What an attention needs that is not here; empty where nothing is."""
    if attention in ("sdpa", "eager"):
        return ""
    package = f"the {FLASH[attention].replace('_', '-')} package" if attention in FLASH else "torch 2.11 or later"
    if device.type != "cuda":
        return f"a GPU and {package}"
    if dtype not in HALF:
        return f"model.dtype=bfloat16 or float16, not {dtype}"
    if attention in FLASH:
        return "" if _has_flash_attention(attention) else f"a GPU and {package}"
    if torch.cuda.get_device_capability(device) < varlen.LEAST_CAPABILITY:
        return "a GPU of compute capability 8.0 or more"
    return "" if varlen.find_kernel() else package


def _has_flash_attention(attention: str) -> bool:
    """Whether transformers takes the installed flash-attn, and it loads: one built for another torch does not."""
    from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

    taken = {"flash_attention_3": is_flash_attn_3_available, "flash_attention_2": is_flash_attn_2_available}
    if not taken[attention]():
        return False
    with contextlib.suppress(ImportError, OSError):
        importlib.import_module(FLASH[attention])
        return True
    return False


def compute_dtype(wanted: str, device: torch.device, four_bit: bool = False) -> str:
    """The dtype that `auto` stands for here; a 4-bit base is computed in bfloat16 everywhere."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bfloat16" if fast or four_bit else "float32"
