"""The arithmetic of time: operations of a token, bytes that ranks send one another.

A token takes 2 operations a parameter that it is multiplied with, the backward pass twice as many where all weights are
trained (Kaplan et al., Scaling Laws for Neural Language Models, 2020, section 2.1) and as many where only adapters are,
since gradients of frozen weights are not computed. Attention adds 4 * layers * width * context operations in the
forward pass, of which a causal kernel does half (Chowdhery et al., PaLM, 2022, appendix B); layers with a window see no
more than that. The output layer multiplies label tokens alone, and once more in the backward pass
(models/example_losses.py). Gradient checkpointing adds a forward pass. What is computed again is no useful operation:
the share of a device's ceiling counts none of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgetfilter.models.memory import Held
from forgetfilter.models.rehearsal import Parameters

Array = NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """What of a model its operations depend on."""

    multiplied: int
    """Parameters that each token is multiplied with."""
    head: int
    """Parameters of the output layer."""
    attended: int
    """layers * heads * width of a head: the numbers that are compared between two tokens."""
    windowed: int = 0
    """Of these, those of layers in which a token sees `window` tokens at most."""
    window: int = 1

    @classmethod
    def of(cls, config: object, own: Parameters) -> "Shape":
        """From a model's config (its text part) and its parameters."""
        layers, heads = getattr(config, "num_hidden_layers", 0), getattr(config, "num_attention_heads", None) or 1
        width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // heads
        each, window = int(heads) * int(width), getattr(config, "sliding_window", None)
        kinds = getattr(config, "layer_types", None) or (["sliding_attention"] if window else []) * int(layers)
        windowed = each * sum(kind == "sliding_attention" for kind in kinds) if window else 0
        return cls(own.multiplied, own.head, int(layers) * each, windowed, int(window or 1))


def forward_operations(shape: Shape, lengths: Array, labels: Array) -> float:
    """Of the forward pass over examples of so many tokens and label tokens; with the output layer."""
    tokens = lengths.astype(float)
    seen = np.minimum(tokens, shape.window)
    attention = (shape.attended - shape.windowed) * tokens**2 + shape.windowed * (2 * tokens - seen) * seen
    body = 2 * shape.multiplied * int(lengths.sum()) + 2 * float(attention.sum())
    return body + 2 * shape.head * int(labels.sum())


def useful_operations(shape: Shape, lengths: Array, labels: Array, full: bool) -> float:
    """Of a pass forward and back over examples, without what is computed again."""
    return (3 if full else 2) * forward_operations(shape, lengths, labels)


def training_operations(shape: Shape, lengths: Array, labels: Array, full: bool, checkpointing: bool) -> float:
    """Of a pass forward and back over examples, with what is computed again."""
    head = 2 * shape.head * int(labels.sum())
    again = head + checkpointing * (forward_operations(shape, lengths, labels) - head)
    return useful_operations(shape, lengths, labels, full) + again


def sent_bytes(alone: Held, stage: int, ranks: int, micro_batches: int, checkpointing: bool) -> float:
    """Bytes that a rank sends in one optimizer step of so many micro-batches.

    All-reducing G bytes of gradients takes 2 * G * (N - 1) / N of each rank (Patarasuk and Yuan, Bandwidth Optimal
    All-reduce Algorithms, 2009), and so does what ZeRO-1 and ZeRO-2 do in its place. ZeRO-3 scatters the gradients and
    gathers all weights in each pass of each micro-batch (ZeRO, section 7.2): forward, backward, and again where
    activations are computed again.
    """
    share = (ranks - 1) / ranks
    if stage < 3:
        return 2 * alone.gradients * share
    passes = 3 if checkpointing else 2
    return share * micro_batches * (passes * (alone.base + alone.trained) + alone.gradients)
