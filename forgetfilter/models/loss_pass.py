"""Scoring: one forward pass over a data set writes each example's loss to Parquet shards. It can be resumed, with any
world size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from forgetfilter.data.batches import collate, layout_for, plan_scoring
from forgetfilter.data.token_files import Prepared
from forgetfilter.data.turns import Encoded, after_prompt, label_counts
from forgetfilter.models.ceiling import Arithmetic
from forgetfilter.models.example_losses import ExampleLosses, attach, read_tokens, to_device
from forgetfilter.models.fitting import fitting_tokens, free_bytes, peak_bytes
from forgetfilter.models.plan.costs import Array
from forgetfilter.process.distributed import World
from forgetfilter.process.passes import count_batch, making_data
from forgetfilter.storage.shards import LOSS_SCHEMA, TOKEN_SCHEMA, TURN_FIELDS
from forgetfilter.storage.steps import Amounts, write_steps

IntArray = NDArray[np.integer[Any]]


def score_batch(
    model: torch.nn.Module, rows: Sequence[Encoded], device: torch.device, packing: bool
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(loss_sum nats float64 [E], num_tokens int64 [E]) of a batch; `model` must be attached."""
    losses = _forward(model, rows, device, packing)
    return losses.loss_sum.double().cpu().numpy(), losses.num_tokens.cpu().numpy()


def _forward(model: torch.nn.Module, rows: Sequence[Encoded], device: torch.device, packing: bool) -> ExampleLosses:
    with torch.inference_mode():
        with making_data():
            batch = collate(rows, range(len(rows)), _layout(model, packing), pad_token=0)
            count_batch(sum(len(ids) for ids, _ in rows), batch["input_ids"].numel())
        losses: ExampleLosses = model(**to_device(batch, device))["example_losses"]
    return losses


def _layout(model: Any, packing: bool) -> str:
    return layout_for(str(model.config._attn_implementation), packing)


def score_encoded(
    model: torch.nn.Module,
    encoded: Sequence[Encoded],
    batch_tokens: int,
    device: torch.device,
    packing: bool = True,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(loss_sum nats float64 [n], num_tokens int64 [n]) of encoded examples, in their order, by one process."""
    loss_sum, num_tokens = np.zeros(len(encoded)), np.zeros(len(encoded), dtype=np.int64)
    detach = attach(model)
    try:
        lengths = np.array([len(ids) for ids, _ in encoded], dtype=np.int64)
        for rows in plan_scoring(lengths, batch_tokens, not packing):
            loss_sum[rows], num_tokens[rows] = score_batch(model, [encoded[row] for row in rows], device, packing)
    finally:
        detach()
    return loss_sum, num_tokens


def measured_tokens(model: torch.nn.Module, width: int, device: torch.device, packing: bool) -> int:
    """The most tokens of a forward pass that this GPU holds; `width`: tokens of the longest example, and `model` must
    not be attached. UserError where not even that example fits."""
    detach = attach(model)

    def cost(rows: int) -> int:
        return peak_bytes(lambda: _forward(model, [after_prompt([1] * width, 1)] * rows, device, packing), device)

    try:
        return fitting_tokens(cost, lambda: free_bytes(device), width)
    finally:
        detach()
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class LossPass:
    """How the losses of a data set are computed and stored."""

    batch_tokens: int
    """The most tokens of one forward pass; without packing its places, padding counted."""
    shard_rows: int
    """About how many examples a shard has."""
    packing: bool = True
    tokenwise: bool = False
    """Whether each label token's loss is stored too: the columns of TOKEN_SCHEMA."""
    arithmetic: Arithmetic | None = None
    """For the meters, where it is known."""

    def schema(self, turnwise: bool) -> pa.Schema:
        """Of the shards; `turnwise` says whether the loss of each answer is stored too."""
        fields = [*(TOKEN_SCHEMA if self.tokenwise else LOSS_SCHEMA)]
        return pa.schema([*fields, *TURN_FIELDS] if turnwise else fields)


def score_prepared(
    model: torch.nn.Module, prepared: Prepared, folder: Path, how: LossPass, world: World, what: str
) -> None:
    """Writes the losses of all rows to shards below `folder`, each batch exactly once. Where several answers of a row
    are learned, the loss of each is stored too.

    Batches are planned once for the whole data and handed to ranks whole. Batches in whole shards are skipped,
    whatever world size wrote them. Raises Stopped after a signal, with everything scored saved.
    """
    lengths, turnwise = prepared.lengths(), prepared.several_answers
    plan = plan_scoring(lengths, how.batch_tokens, not how.packing)
    schema = how.schema(turnwise)

    def compute(step: int) -> Callable[[], pa.Table]:
        with making_data():
            rows = [prepared.row(int(row)) for row in plan[step]]
        losses = _forward(model, rows, world.device, how.packing)
        numbers = {"rank": world.rank, "step": step, "epoch": 0}
        return lambda: _loss_table(losses, prepared, plan[step], numbers, schema)

    detach = attach(model, tokenwise=how.tokenwise or turnwise)
    try:
        amounts = _amounts(how.arithmetic, lengths, prepared.num_labels(), plan)
        write_steps(amounts, compute, folder, schema, how.shard_rows, world, what)
    finally:
        detach()


def _amounts(own: Arithmetic | None, lengths: Array, labels: Array, plan: Sequence[IntArray]) -> Amounts:
    tokens = [int(lengths[rows].sum()) for rows in plan]
    if own is None:
        return Amounts(tokens)
    return Amounts(tokens, [own.operations(lengths[rows], labels[rows]) for rows in plan], own.ceiling)


def _loss_table(
    losses: ExampleLosses, prepared: Prepared, rows: IntArray, numbers: dict[str, int], schema: pa.Schema
) -> pa.Table:
    """A batch's losses as rows of a shard; `numbers` are columns with the same value in all rows."""
    loss_sum, num_tokens = losses.loss_sum.double().cpu().numpy(), losses.num_tokens.cpu().numpy()
    columns = {"num_tokens": num_tokens, "loss_sum": loss_sum}
    columns |= {key: np.full(len(rows), value) for key, value in numbers.items()}
    if "turn_losses" in schema.names:
        columns |= _turn_columns(losses, [label_counts(prepared.turns(int(row))) for row in rows])
    if "token_losses" in schema.names:
        assert losses.correct is not None
        ends = pa.array(np.concatenate([[0], np.cumsum(num_tokens)]), pa.int32())
        nats = read_tokens(losses).float().cpu().numpy().clip(0, 65504).astype(np.float16)
        columns["token_losses"] = pa.ListArray.from_arrays(ends, pa.array(nats))
        columns["token_correct"] = pa.ListArray.from_arrays(ends, pa.array(losses.correct.cpu().numpy()))
    return pa.table({**prepared.named(rows), **columns}).cast(schema)


def _turn_columns(losses: ExampleLosses, counts: list[list[int]]) -> dict[str, pa.ListArray]:
    """The columns of TURN_FIELDS, from the losses of the tokens; counts: label tokens of each answer, row by row."""
    each = np.array([count for row in counts for count in row])
    sums = np.add.reduceat(read_tokens(losses).double().cpu().numpy(), np.cumsum(each) - each)
    ends = pa.array(np.cumsum([0, *map(len, counts)]), pa.int32())
    made = (pa.ListArray.from_arrays(ends, pa.array(values)) for values in (each, sums))
    return dict(zip((field.name for field in TURN_FIELDS), made))
