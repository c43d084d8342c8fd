"""A training step that is gone through without memory or weights: what it would hold at its peak, and what of it is
what.

The model is made from its config alone, its tensors are torch's fake tensors (shapes and types without values), and
the project's own forward pass and the backward pass run on them, with adapters, packing, attention, checkpointing and
the chunked loss as they are. A ledger counts every new storage and every one that goes (as torch's own MemTracker does,
torch/distributed/_tools/mem_tracker.py), so nothing about a family of models is assumed.
"""

import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from forgetfilter.config.schema import LoraConfig
from forgetfilter.data.batches import collate, layout_for
from forgetfilter.models.example_losses import attach
from forgetfilter.models.lora_targets import adapter_config
from forgetfilter.models.pretrained import described_model, load_config

DEVICE = "cpu"  # of the fake tensors: sizes are those of any device


@dataclass(frozen=True)
class Training:
    """How a model is trained, as far as its memory depends on it."""

    lora: LoraConfig | None
    """The adapter; None where all weights are trained."""
    dtype: str
    """Of the weights, and of the activations without autocast."""
    autocast: str | None
    """The type in which float32 weights are computed."""
    attention: str
    packing: bool
    checkpointing: bool


@dataclass(frozen=True)
class Parameters:
    """Of a model: how many, and their bytes."""

    base: int
    """Parameters that stay as they are."""
    trained: int
    base_bytes: int
    trained_bytes: int
    linear: int
    """Of the base: those in the matrices that a 4-bit model stores in 4 bits."""
    largest: int
    """Parameters of the largest of these matrices."""
    multiplied: int
    """Of all: those that each token is multiplied with, which leaves out embeddings and the output layer."""
    head: int
    """Parameters of the output layer, which multiplies label tokens alone."""


@dataclass(frozen=True)
class Rehearsed:
    """What a step would hold, in bytes."""

    parameters: Parameters
    saved: int
    """What the forward pass leaves for the backward pass."""
    peak: int
    """The most beyond weights and gradients."""


def outline(folder: Path, training: Training) -> torch.nn.Module:
    """The model that would be trained, with its adapter, on torch's meta device: shapes alone. UserError where the
    config describes none, or where it lacks the adapter's layers."""
    import peft

    config = load_config(folder, "model.name")
    attention = training.attention if training.attention in ("eager", "sdpa") else "sdpa"
    with torch.device("meta"):
        model = described_model(config, attention, training.dtype)
        if training.lora is not None:
            model.requires_grad_(False)
            model = peft.get_peft_model(model, adapter_config(model, training.lora, say=False))
    made: torch.nn.Module = model
    return made


def parameters(model: torch.nn.Module) -> Parameters:
    """Counts the parameters of a model, shared ones once."""
    base = [one for one in model.parameters() if not one.requires_grad]
    trained = [one for one in model.parameters() if one.requires_grad]
    whole: Any = model
    head, embedding = whole.get_output_embeddings(), whole.get_input_embeddings()
    matrices = [
        layer.weight.numel()
        for layer in model.modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head and not layer.weight.requires_grad
    ]
    return Parameters(
        sum(one.numel() for one in base),
        sum(one.numel() for one in trained),
        sum(one.nbytes for one in base),
        sum(one.nbytes for one in trained),
        sum(matrices),
        max(matrices, default=0),
        sum(one.numel() for one in (*base, *trained) if all(one is not other.weight for other in (head, embedding))),
        head.weight.numel(),
    )


def rehearse(
    folder: Path, training: Training, lengths: Sequence[int], labels: Sequence[int], learning: bool = True
) -> Rehearsed:
    """Goes through a step over one micro-batch of examples with so many tokens and label tokens each. Without
    `learning` it is a batch of a scoring, a forward pass alone."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    model: Any = outline(folder, training)
    counted, ledger = parameters(model), _Ledger()
    examples = [([0] * length, [(length - own, length)]) for length, own in zip(lengths, labels)]
    batch = collate(examples, range(len(examples)), _layout(training), 0)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, ledger.watching():
        _give_storage(model)
        batch = {key: fake.from_tensor(one) if isinstance(one, torch.Tensor) else one for key, one in batch.items()}
        if training.checkpointing:
            if training.lora is not None:
                model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": False})
        detach = attach(model.train(learning))
        before = ledger.peak = ledger.held
        with _autocast(training.autocast), torch.set_grad_enabled(learning):
            loss = model(**batch)["loss"]
        saved = ledger.held - before
        if learning:
            loss.backward()
        detach()
    return Rehearsed(counted, saved, ledger.peak - before)


def _layout(training: Training) -> str:
    return layout_for(training.attention, training.packing)


def _autocast(dtype: str | None) -> Any:
    return torch.autocast(DEVICE, getattr(torch, dtype)) if dtype else nullcontext()


def _give_storage(model: torch.nn.Module) -> None:
    """Puts fake tensors in the place of those on the meta device, with gradients beside what is trained."""
    made: dict[int, torch.nn.Parameter] = {}
    for layer in model.modules():
        for name, old in layer._parameters.items():
            if old is not None and id(old) not in made:
                values = torch.empty(old.shape, dtype=old.dtype, device=DEVICE)
                made[id(old)] = torch.nn.Parameter(values, requires_grad=old.requires_grad)
                if old.requires_grad:
                    made[id(old)].grad = torch.empty_like(values)
            layer._parameters[name] = made[id(old)] if old is not None else None
        for name, buffer in layer._buffers.items():
            layer._buffers[name] = None if buffer is None else torch.empty_like(buffer, device=DEVICE)


class _Ledger:
    """The bytes of all storages that operations have made and that are still held."""

    def __init__(self) -> None:
        self.held = self.peak = 0
        self.known: set[int] = set()

    def watching(self) -> AbstractContextManager[Any]:
        """Within it, the results of all operations are noted."""

        def dispatch(mode: Any, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = operation(*args, **(kwargs or {}))
            for tensor in tree_leaves(made):
                if isinstance(tensor, torch.Tensor):
                    self._note(tensor.untyped_storage())
            return made

        watch: AbstractContextManager[Any] = type("Watch", (TorchDispatchMode,), {"__torch_dispatch__": dispatch})()
        return watch

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self.known:
            return
        self.known.add(key)
        self.held += storage.nbytes()
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.held -= size
