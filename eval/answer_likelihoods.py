"""Likelihoods of several answers to a prompt, where the prompt is computed once for all of them.

A prompt and its answers form one row: first what the answers have in common, then the rest of each. An attention mask
lets the rest of an answer see only the common part and itself, and its positions continue those of the common part, so
that each answer has the same loss as alone. Losses, plans, shards and resuming work as in models/loss_pass.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from forgetfilter.data.batches import Batch, collate, layout_for, plan_scoring
from forgetfilter.data.rectangles import plan_padded
from forgetfilter.data.turns import Encoded, label_places
from forgetfilter.models import varlen
from forgetfilter.models.example_losses import attach, to_device
from forgetfilter.models.loss_pass import LossPass
from forgetfilter.process.distributed import World
from forgetfilter.process.passes import count_batch, making_data
from forgetfilter.storage.shards import LOSS_SCHEMA
from forgetfilter.storage.steps import Amounts, write_steps

Group = Sequence[Encoded]  # one prompt with each of its answers
Array = np.ndarray[Any, Any]
LOSS_COLUMNS = [column for column in LOSS_SCHEMA if column.name not in ("id", "source")]

# The largest relative difference between an answer's loss with others in its row and its loss alone that rounding
# explains: that of a trained model, and of an answer of few label tokens.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}


def score_groups(
    model: torch.nn.Module,
    groups: Sequence[Group],
    keys: pa.Table,
    folder: Path,
    how: LossPass,
    world: World,
    what: str,
) -> bool:
    """Writes the columns of `keys` and LOSS_COLUMNS for each answer to shards below `folder`.

    To be called by every rank. `keys` has one row for each answer of all groups, in order. Batches are planned once for
    all groups and handed to ranks whole; batches that whole shards already hold are skipped. Returns whether prompts
    were shared. Raises Stopped after a signal.
    """
    schema = pa.schema([*keys.schema, *LOSS_COLUMNS])
    ends = np.cumsum([len(group) for group in groups])
    detach = attach(model)
    try:
        share = can_share(model, groups, world.device, how.packing)
        widths = np.array([_width(group, share) for group in groups], dtype=np.int64)
        plan = plan_scoring(widths, how.batch_tokens) if how.packing else _padded(groups, how.batch_tokens)

        def compute(step: int) -> pa.Table:
            chosen = [groups[number] for number in plan[step]]
            loss_sum, num_tokens = score_batch(model, chosen, world.device, how.packing, share)
            rows = np.concatenate([np.arange(ends[n] - len(groups[n]), ends[n]) for n in plan[step]])
            columns = {"num_tokens": num_tokens, "loss_sum": loss_sum}
            columns |= {k: np.full(len(rows), v) for k, v in (("rank", world.rank), ("step", step), ("epoch", 0))}
            answers = keys.take(pa.array(rows))
            columns |= {name: answers[name] for name in keys.column_names}
            return pa.table(columns).select(schema.names).cast(schema)

        tokens = [int(widths[of].sum()) for of in plan]
        write_steps(Amounts(tokens), compute, folder, schema, how.shard_rows, world, what)
    finally:
        detach()
    return share


def _padded(groups: Sequence[Group], places: int) -> list[Array]:
    """Groups by batch, where each answer is a row that is padded to the longest of its batch."""
    longest = np.array([max(len(ids) for ids, _ in group) for group in groups], dtype=np.int64)
    return plan_padded(longest, places, np.array([len(group) for group in groups], dtype=np.int64))


def score_batch(
    model: torch.nn.Module, groups: Sequence[Group], device: torch.device, packing: bool, share: bool
) -> tuple[Array, Array]:
    """(loss_sum nats float64 [A], num_tokens int64 [A]) of the A answers of some groups; `model` must be attached."""
    rows = [row for group in groups for row in group]
    attention, dtype = _attention_and_dtype(model)
    with making_data():
        if share:
            batch = collate_shared(groups)
            if attention == "eager":  # adds its mask to the scores, so it needs numbers in the place of booleans
                lowest = torch.tensor(torch.finfo(dtype).min, dtype=dtype)
                batch["attention_mask"] = torch.where(batch["attention_mask"], 0.0, lowest)
        else:
            batch = collate(rows, range(len(rows)), layout_for(attention, packing), pad_token=0)
        count_batch(sum(_width(group, share) for group in groups), batch["input_ids"].numel())
    with torch.inference_mode():
        losses = model(**to_device(batch, device))["example_losses"]
    return losses.loss_sum.double().cpu().numpy(), losses.num_tokens.cpu().numpy()


def can_share(model: torch.nn.Module, groups: Sequence[Group], device: torch.device, packing: bool) -> bool:
    """Whether answers that share their prompt have the losses that they have alone; `model` must be attached.

    This is tried on the first group with several answers. It is false without a trial for models with sliding windows
    or state spaces, and for flash attention, which accepts no such mask; varlen leaves what has a mask to SDPA.
    """
    config: Any = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    group = next((group for group in groups if _common(group) > 0 and len(group) > 1), None)
    attention, dtype = _attention_and_dtype(model)
    if group is None or not packing or attention not in ("sdpa", "eager", varlen.NAME):
        return False
    if kinds != {"full_attention"} or getattr(config, "model_type", "") in ("mamba", "mamba2", "jamba", "rwkv"):
        return False
    shared, alone = (score_batch(model, [group], device, packing, share)[0] for share in (True, False))
    return bool(np.all(np.abs(shared - alone) <= TOLERANCE[str(dtype).removeprefix("torch.")] * np.abs(alone)))


def collate_shared(groups: Sequence[Group]) -> Batch:
    """The tensors of G groups with A answers and N label tokens in all; each group is one row of width W.

    `input_ids`, `position_ids` [G, W]; `attention_mask` bool [G, 1, W, W], true where a token (third axis) sees another
    (fourth); `loss_positions`, `loss_targets`, `loss_segments` [N] and `rows` [A] as in data.batches.collate.
    """
    width = max(_width(group, share=True) for group in groups)
    inputs = np.zeros((len(groups), width), dtype=np.int64)
    position_ids = np.zeros_like(inputs)
    branch = np.full_like(inputs, -1)  # 0 for the common part, the answer's number from 1 for its rest, -1 for padding
    positions, targets, answers = [], [], 0
    for number, group in enumerate(groups):
        common = _common(group)
        inputs[number, :common] = np.asarray(group[0][0][:common])
        position_ids[number, :common], branch[number, :common] = np.arange(common), 0
        place = common
        for answer, (ids, turns) in enumerate(group, 1):
            labels, rest = label_places(turns), slice(place, place + len(ids) - common)
            inputs[number, rest] = np.asarray(ids[common:])
            position_ids[number, rest], branch[number, rest] = np.arange(common, len(ids)), answer
            start = number * width + place - common
            positions.append(start + labels - 1)
            targets.append(np.asarray(ids, dtype=np.int64)[labels])
            place = rest.stop
        answers += len(group)
    sees = (branch[:, :, None] == branch[:, None, :]) | (branch[:, None, :] == 0)
    sees &= np.tri(width, dtype=np.bool_)
    return {
        "input_ids": torch.from_numpy(inputs),
        "position_ids": torch.from_numpy(position_ids),
        "attention_mask": torch.from_numpy(sees[:, None]),
        "loss_positions": torch.from_numpy(np.concatenate(positions)),
        "loss_targets": torch.from_numpy(np.concatenate(targets)),
        "loss_segments": torch.from_numpy(np.repeat(np.arange(answers), [len(place) for place in positions])),
        "rows": torch.arange(answers),
    }


def _attention_and_dtype(model: Any) -> tuple[str, torch.dtype]:
    """The attention backend, and the type of the activations."""
    return str(model.config._attn_implementation), model.dtype


def _width(group: Group, share: bool) -> int:
    """How many tokens a group takes in its row."""
    total = sum(len(ids) for ids, _ in group)
    return total - (len(group) - 1) * _common(group) if share else total


def _common(group: Group) -> int:
    """How many tokens all answers begin with, without the one that predicts an answer's first label token."""
    most = min(turns[0][0] for _, turns in group) - 1
    parts = np.stack([np.asarray(ids[:most]) for ids, _ in group])
    differ = np.flatnonzero((parts != parts[0]).any(axis=0))
    return int(differ[0]) if len(differ) else most
