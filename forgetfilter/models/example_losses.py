"""Per-example losses from one forward pass, without the logits of a whole batch.

`attach` teaches a causal language model to take batches of forgetfilter.data.batches: while such a batch passes, the
output layer returns the loss of each label token in place of logits. It works on a chunk of label positions at a
time (never on prompts or padding) and computes the chunk's logits again in the backward pass, so that at most
CHUNK_BYTES of float32 logits exist at once. Everything around the output layer stays the model's own code, so
adapters, DeepSpeed's ZeRO-3 hooks and gradient checkpointing work as usual.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from forgetfilter.data.batches import EXTRAS, SPANS, Batch
from forgetfilter.errors import UserError
from forgetfilter.models import packed_masks
from forgetfilter.models.logit_changes import LogitChanges

CHUNK_BYTES = 256 * 2**20  # of float32 logits


@dataclass
class ExampleLosses:
    """The losses of one batch. The tensors stay on the device, so that nothing waits for the GPU."""

    rows: torch.Tensor  # [E] the examples' numbers in the data
    loss_sum: torch.Tensor  # [E] nats, float32
    num_tokens: torch.Tensor  # [E] label tokens
    epoch: torch.Tensor | None = None
    # [N] nats of each label token, example after example, where `attach` is asked for them
    tokens: torch.Tensor | None = None
    correct: torch.Tensor | None = None  # [N] whether the label token was the first choice
    made: torch.Tensor | None = None  # [N] the same as the head made them; see `read_tokens`


def token_losses(
    head: Callable[[torch.Tensor], torch.Tensor],
    hidden: torch.Tensor,
    targets: torch.Tensor,
    vocabulary: int,
    choices: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """The cross entropy in nats of each label token, float32 [N], from hidden states [N, H], chunk by chunk.

    `choices` is given, chunk by chunk, whether each label token was the first choice (without gradients only).
    """
    chunk = max(1, CHUNK_BYTES // (4 * vocabulary))

    def one(part: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        logits = head(part).float()
        if choices is not None:
            choices.append(logits.argmax(-1) == wanted)
        return F.cross_entropy(logits, wanted, reduction="none")

    pairs = zip(torch.split(hidden, chunk), torch.split(targets, chunk))
    if not torch.is_grad_enabled():
        return torch.cat([one(part, wanted) for part, wanted in pairs])
    return torch.cat(
        [checkpoint(one, part, wanted, use_reentrant=False, preserve_rng_state=False) for part, wanted in pairs]
    )


class _Head:
    """The model's output layer, which returns losses while `targets` is set and logits otherwise."""

    def __init__(self, layer: Any, changes: LogitChanges):
        self.original: Callable[[torch.Tensor], torch.Tensor] = layer.forward
        self.changes = changes
        self.vocabulary = int(getattr(layer, "out_features", 131072))  # a large number where the layer does not tell it
        self.targets: tuple[torch.Tensor, torch.Tensor] | None = None  # positions [N], label tokens [N]
        self.choices: list[torch.Tensor] | None = None
        self.made: torch.Tensor | None = None  # what it returned last
        layer.forward = self.forward

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.targets is None:
            return self.original(hidden)
        positions, wanted = self.targets
        chosen = hidden.reshape(-1, hidden.shape[-1]).index_select(0, positions)
        if len(positions) == 0:  # a micro-batch without labels must still take part in the backward pass
            return self.original(chosen).float().sum(-1) + hidden.float().sum() * 0
        losses = token_losses(self._logits, chosen, wanted, self.vocabulary, self.choices)
        self.made = losses.detach() if self.choices is not None else None
        return losses

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The logits as the model would return them."""
        return self.changes(self.original(hidden))


def attach(
    model: torch.nn.Module, sink: Callable[[ExampleLosses], None] | None = None, tokenwise: bool = False
) -> Callable[[], None]:
    """Makes `model(**batch)` return `loss` and `example_losses`; gives each batch's ExampleLosses to `sink`.

    `loss` is the sum over the label tokens divided by the batch's `norm` (label tokens of the whole optimizer
    step), or by `num_items_in_batch` where the caller passes it, or by the batch's own number of label tokens.
    With `tokenwise` the examples carry the losses of their tokens too (for forward passes without gradients).
    Batches without `loss_positions` pass as if nothing were attached. Returns the function that detaches.
    """
    whole: Any = model
    layer = whole.get_output_embeddings()
    if layer is None:
        raise UserError("model.name: the model has no output layer, so it is no causal language model")
    packed_masks.install()
    attached = _Attachment(model, layer, sink, tokenwise)
    handles = [
        model.register_forward_pre_hook(attached.before, with_kwargs=True),
        model.register_forward_hook(attached.after, with_kwargs=True),
    ]

    def detach() -> None:
        for handle in handles:
            handle.remove()
        attached.changes.turn_on()  # in case a forward pass did not end
        packed_masks.tell(None)
        layer.__dict__.pop("forward", None)

    return detach


class _Attachment:
    """What happens before and after a forward pass of a model; between the two its head returns losses."""

    def __init__(
        self,
        model: torch.nn.Module,
        layer: torch.nn.Module,
        sink: Callable[[ExampleLosses], None] | None,
        tokenwise: bool,
    ):
        self.changes = LogitChanges(model)
        self.head = _Head(layer, self.changes)
        self.sink, self.tokenwise = sink, tokenwise
        self.unread = ("labels",) if _takes_more(model) else ("labels", *SPANS)
        self.extras: dict[str, Any] = {}  # of the batch in the forward pass

    def before(self, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Takes from a batch what the model must not see, and has the head return losses."""
        if "loss_positions" not in kwargs:
            packed_masks.tell(None)
            return args, kwargs
        self.extras = {key: kwargs.pop(key) for key in EXTRAS if key in kwargs}
        for key in self.unread:
            kwargs.pop(key, None)
        self.extras["items"] = kwargs.pop("num_items_in_batch", None)
        self.head.targets = (self.extras["loss_positions"], self.extras["loss_targets"])
        self.head.choices = [] if self.tokenwise else None
        self.changes.turn_off()
        packed_masks.tell(self.extras.get("packed"))
        return args, kwargs | {"use_cache": False}

    def after(self, module: torch.nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        """Gives the losses of the batch's examples in the place of the model's output."""
        if self.head.targets is None:
            return output
        extras, self.extras, self.head.targets = self.extras, {}, None
        self.changes.turn_on()
        packed_masks.tell(None)
        # The losses as the model returns them, not as the head made them: ZeRO-3 attaches the gathering of the head's
        # weights for the backward pass to the head's output.
        losses: torch.Tensor = output.logits if hasattr(output, "logits") else output[0]
        assert losses.shape == extras["loss_targets"].shape, "the model's forward pass changed the head's output"
        examples = self._examples(losses.detach(), extras)
        if self.sink is not None:
            self.sink(examples)
        return {"loss": losses.sum() / _divisor(extras, len(losses)), "example_losses": examples}

    def _examples(self, losses: torch.Tensor, extras: dict[str, Any]) -> ExampleLosses:
        examples = _by_example(losses, extras)
        if self.head.choices is not None:
            examples.tokens, examples.made = losses, self.head.made
            examples.correct = torch.cat([*self.head.choices, losses.new_zeros(0, dtype=torch.bool)])
        return examples


def _divisor(extras: dict[str, Any], num_tokens: int) -> Any:
    """What the sum of the losses is divided by: the label tokens of the whole step, where the batch or caller says."""
    if extras["items"] is not None:
        return extras["items"]
    return extras.get("norm", max(1, num_tokens))


def read_tokens(losses: ExampleLosses) -> torch.Tensor:
    """[N] nats of each label token. Waits for the device; raises UserError where the model changed the output of its
    head, since it then changes its logits likewise."""
    assert losses.tokens is not None
    if losses.made is not None and not torch.equal(losses.made, losses.tokens):
        raise UserError(
            "model.name: this model changes its logits after the output layer in a way that per-example losses do not "
            "know; choose another model"
        )
    return losses.tokens


def _takes_more(model: torch.nn.Module) -> bool:
    """Whether the model accepts arguments that it does not name, such as those for its attention."""
    own = getattr(model, "get_base_model", lambda: model)()  # the model around an adapter accepts everything
    return any(one.kind is one.VAR_KEYWORD for one in inspect.signature(own.forward).parameters.values())


def _by_example(losses: torch.Tensor, extras: dict[str, Any]) -> ExampleLosses:
    rows, segments = extras["rows"], extras["loss_segments"]
    # in float64, since a GPU adds in any order, and float32 would differ from one scoring to the next
    sums = torch.zeros(len(rows), dtype=torch.float64, device=losses.device).index_add_(0, segments, losses.double())
    counts = torch.zeros(len(rows), dtype=torch.int64, device=losses.device).index_add_(
        0, segments, torch.ones_like(segments)
    )
    return ExampleLosses(rows, sums.float(), counts, extras.get("epoch"))


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on the device. To a GPU they go from pinned memory, which makes nothing wait."""
    return {key: _moved(value, device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}


def _moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    here = tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor
    return here.to(device, non_blocking=True)
