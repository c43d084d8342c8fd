"""The loss log on a trainer with a collator and a loss of its own: transformers.Trainer with any batches, TRL, packed.

    rows = rows.add_column("row", range(len(rows)))            # ids[row] is its id
    trainer = SFTTrainer(model, SFTConfig(..., remove_unused_columns=False), train_dataset=rows, callbacks=[log])
    trainer.data_collator = RowCollator(trainer.data_collator)  # the trainer's own, which keeps `row` now
    detach = watch(model, log.record)
    trainer.train()

Nothing of the training changes: the losses are read from what the model returns, its logits, or the log-probabilities
of TRL's fused output layer. What packs rows before the collator must pack a list `row` along, the number once a token.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from forgetfilter.models.example_losses import ExampleLosses

IGNORED = -100  # the label of a token that is not learned, as transformers has it
ROWS = "rows"
CHUNK = 1024  # label tokens whose float32 logits exist at once


class RowCollator:
    """Another collator's batches, with the number of the example that each token is of: `rows` [B, T], -1 for none."""

    def __init__(self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]]):
        self.collator = collator

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        given = [feature["row"] for feature in features]
        batch = self.collator([{key: value for key, value in one.items() if key != "row"} for one in features])
        shape = batch["input_ids"].shape
        if isinstance(given[0], int) and shape[0] == len(given):  # whatever the padding is: it has no label
            return {**batch, ROWS: torch.tensor(given)[:, None].expand(shape).contiguous()}
        lengths = [len(feature["input_ids"]) for feature in features]
        each = [torch.full((n,), row) if isinstance(row, int) else torch.tensor(row) for row, n in zip(given, lengths)]
        lines = [torch.cat(each)] if shape[0] == 1 else each
        padded = [F.pad(line, (0, shape[1] - len(line)), value=-1) for line in lines]
        return {**batch, ROWS: torch.stack(padded)}


def watch(model: torch.nn.Module, sink: Callable[[ExampleLosses], None]) -> Callable[[], None]:
    """Gives the losses of each batch's examples to `sink`, where a batch has `rows` and labels. Returns the function
    that takes the hooks away.

    Label tokens are those whose label is not -100, each foretold by the token before it. Counting them waits for the
    device once a batch.
    """
    seen: dict[str, torch.Tensor | None] = {}

    def before(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        seen[ROWS], seen["labels"] = kwargs.pop(ROWS, None), kwargs.get("labels")
        return args, kwargs

    def after(module: torch.nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        rows, labels = seen.pop(ROWS, None), seen.pop("labels", None)
        if rows is not None and labels is not None:
            with torch.no_grad():
                sink(_losses(output, labels, rows))

    handles = [
        model.register_forward_pre_hook(before, with_kwargs=True),
        model.register_forward_hook(after, with_kwargs=True),
    ]

    def detach() -> None:
        for handle in handles:
            handle.remove()

    return detach


def _losses(output: Any, labels: torch.Tensor, rows: torch.Tensor) -> ExampleLosses:
    targets = labels[:, 1:]
    learned = targets != IGNORED
    known = getattr(output, "log_probs", None)  # TRL's, [B, T - 1]
    losses = -known[learned].double() if known is not None else _of_logits(output.logits[:, :-1], targets, learned)
    numbers, place = torch.unique(rows[:, 1:][learned], return_inverse=True)
    sums = torch.zeros(len(numbers), dtype=torch.float64, device=losses.device).index_add_(0, place, losses)
    return ExampleLosses(numbers, sums.float(), torch.bincount(place, minlength=len(numbers)))


def _of_logits(logits: torch.Tensor, targets: torch.Tensor, learned: torch.Tensor) -> torch.Tensor:
    """[N] nats of the label tokens, float64."""
    pairs = zip(torch.split(logits[learned], CHUNK), torch.split(targets[learned], CHUNK))
    parts = [F.cross_entropy(part.float(), wanted, reduction="none").double() for part, wanted in pairs]
    return torch.cat(parts or [logits.new_zeros(0, dtype=torch.float64)])
