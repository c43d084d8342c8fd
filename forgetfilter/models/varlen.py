"""Attention over packed examples by torch's own variable-length kernel, as an attention of transformers.

The examples of a batch in the layout `row` lie one after the other, and the batch says where each ends (SPANS in
data/batches.py). The kernel needs no more than that, where SDPA needs a mask of the square of the row. Whatever comes
without spans (an example alone, answers, padded rows), and what the kernel does not do (dropout of attention), is
SDPA's, with SDPA's mask.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

NAME = "varlen"
MODULE = "torch.nn.attention.varlen"
LEAST_CAPABILITY = (8, 0)  # of the GPU (Ampere), as for every flash attention
WIDEST_HEAD = 256
Kernel = Callable[..., torch.Tensor]
DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")  # a config's names for that of attention


def find_kernel() -> Kernel | None:
    """torch's kernel; None where the installed torch has none, or one that does not know windows and scales yet."""
    try:
        kernel: Kernel = importlib.import_module(MODULE).varlen_attn
    except (ImportError, OSError, AttributeError):
        return None
    return kernel if {"window_size", "scale"} <= _parameters(kernel) else None


def _parameters(kernel: Kernel) -> set[str]:
    return set(inspect.signature(kernel).parameters)


def fits(config: Any) -> bool:
    """Whether the kernel does all that a model's attention asks for, as far as its config tells: no dropout, and heads
    of one width, a multiple of 8 that is not too large. Elsewhere SDPA would have to mask a row of all examples, which
    costs much."""
    own = config.get_text_config()
    heads = getattr(own, "num_attention_heads", None) or 1
    width = getattr(own, "head_dim", None) or getattr(own, "hidden_size", 0) // heads
    dropout = any(getattr(own, name, 0.0) for name in DROPOUTS)
    return not dropout and width <= WIDEST_HEAD and width % 8 == 0 and not hasattr(own, "v_head_dim")


def register(kernel: Kernel) -> None:
    """Makes the attention `varlen` known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, Varlen(kernel, "enable_gqa" in _parameters(kernel)))
    AttentionMaskInterface.register(NAME, LateMask)


class LateMask:
    """SDPA's mask, which is made when it is asked for: beside spans it never is."""

    def __init__(self, **how: Any):
        self.how = how

    @cached_property
    def made(self) -> torch.Tensor | None:
        from transformers.masking_utils import sdpa_mask

        mask: torch.Tensor | None = sdpa_mask(**self.how)
        return mask


@dataclass(frozen=True)
class Varlen:
    """The attention, as transformers calls it."""

    kernel: Kernel
    grouped: bool
    """Whether the kernel takes fewer heads of keys than of queries."""

    def __call__(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: LateMask | torch.Tensor | None,
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        """Query [B, heads, T, width], keys and values [B, key heads, T, width]; gives [B, T, heads, width]."""
        from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

        spans = options.get("cu_seq_lens_q")
        causal, biased = getattr(module, "is_causal", True), options.get("position_bias") is not None
        if spans is None or options.get("dropout") or biased or not causal:
            mask = attention_mask.made if isinstance(attention_mask, LateMask) else attention_mask
            given: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, mask, **options)
            return given
        groups = query.shape[1] // key.shape[1]
        if groups > 1 and not self.grouped:
            key, value = repeat_kv(key, groups), repeat_kv(value, groups)
        device = query.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else value.dtype
        flat = [part.transpose(1, 2).flatten(0, 1).to(dtype) for part in (query, key, value)]  # [T, heads, width]
        longest, window = options["max_length_q"], options.get("sliding_window")
        # (tokens before, tokens after) that are seen; a window counts the token itself
        seen = (window - 1, 0) if window and window < longest else (-1, 0)
        own = {"enable_gqa": groups > 1} if self.grouped else {}
        settings = {"scale": options.get("scaling"), "window_size": seen} | own
        return self.kernel(*flat, spans, spans, longest, longest, **settings)[None], None
