"""What `auto` stands for on this machine: dtype and attention, on which all numbers of a model depend."""

import contextlib
import importlib
from dataclasses import dataclass
from pathlib import Path

import torch

from forgetfilter.errors import UserError
from forgetfilter.models.pretrained import load_config

# The attentions of transformers, the fastest first, each with the class attribute by which a model says that it has it.
ATTENTIONS = {"flash_attention_2": "_supports_flash_attn", "sdpa": "_supports_sdpa"}


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


def attention_backend(wanted: str, device: torch.device, folder: Path) -> str:
    """The attention that `auto` stands for here, for the model in a folder: the fastest that both have.

    UserError for one that the device or the model does not have. (Gemma 2 caps what its attention compares, which
    SDPA cannot.)
    """
    flash = device.type == "cuda" and _has_flash_attention()
    known = attentions(folder)
    if wanted == "auto":
        return next(one for one in known if flash or one != "flash_attention_2")
    if wanted == "flash_attention_2" and not flash:
        raise UserError("model.attention: flash_attention_2 needs a GPU and the flash-attn package; use auto or sdpa")
    if wanted not in known:
        raise UserError(f"model.attention: {wanted} is not among the model's ({', '.join(known)}); use auto")
    return wanted


def attentions(folder: Path) -> tuple[str, ...]:
    """The attentions that the model's class has, the fastest first; all where transformers has no such class."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    made = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(load_config(folder, "model.name")), None)
    return (*(name for name, flag in ATTENTIONS.items() if getattr(made, flag, True)), "eager")


def _has_flash_attention() -> bool:
    """Whether transformers takes the installed flash-attn, and it loads: one built for another torch does not."""
    from transformers.utils.import_utils import is_flash_attn_2_available

    if not is_flash_attn_2_available():
        return False
    with contextlib.suppress(ImportError, OSError):
        importlib.import_module("flash_attn")
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
