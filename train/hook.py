"""The loss log: the loss of each example once an epoch, from the forward pass that trains anyway.

The project's own trainer uses it without further code. A plain transformers.Trainer needs a collator and a callback:

    log = LossLog(folder, ids, sources)
    detach = attach(model, log.record)
    Trainer(model, TrainingArguments(..., remove_unused_columns=False), train_dataset=rows,
            data_collator=LossCollator(), callbacks=[log]).train()

where each of `rows` is {"input_ids": [...], "num_prompt": int, "row": int} and ids[row] is its id. A row of which
several answers are learned has "turns" in the place of "num_prompt": [(first token, token behind the last), ...]. A
trainer that has a collator and batches of its own, such as TRL's SFTTrainer, keeps them: see watching.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers import TrainingArguments as Args

from forgetfilter.data.batches import collate
from forgetfilter.data.token_files import taken
from forgetfilter.data.turns import Encoded, after_prompt
from forgetfilter.errors import UserError, reason
from forgetfilter.models.example_losses import ExampleLosses
from forgetfilter.process.distributed import barrier, world
from forgetfilter.process.passes import logging_losses
from forgetfilter.storage.shards import LOSS_SCHEMA, scan_shards, shard_path, shard_paths, undamaged, write_shard

SHARD_ROWS = 65536


class LossLog(TrainerCallback):
    """Collects losses on the device and writes them as whole shards before every checkpoint and at the end.

    A shard bears the number of its last optimizer step. On a resume from step S all shards of later steps are deleted,
    because those steps are done again. So every example is in the log exactly once an epoch.
    """

    def __init__(
        self,
        folder: Path | str,
        ids: Sequence[str] | pa.ChunkedArray,
        sources: Sequence[str] | pa.ChunkedArray | None = None,
    ):
        """`ids[row]` and `sources[row]` are those of the example that the batches call `row`; without sources all
        examples are of one, called `data`."""
        self.folder, self.ids = Path(folder), _chunked(ids)
        self.sources = _chunked(["data"] * len(ids) if sources is None else sources)
        self.rank = world().rank
        self.step = 0
        self.epoch = 0
        self.pending: list[tuple[int, int, ExampleLosses]] = []
        self.num_pending = 0

    def record(self, losses: ExampleLosses) -> None:
        """Takes the losses from `attach`. They stay on the device, so nothing waits for it."""
        with logging_losses():
            self.pending.append((self.step, self.epoch, losses))
            self.num_pending += len(losses.rows)

    def on_train_begin(self, args: Args, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        if state.is_world_process_zero:
            for path in shard_paths(self.folder):
                if int(path.stem.split("-")[1]) > state.global_step:
                    path.unlink()
            undamaged(shard_paths(self.folder))
        barrier()

    def forget_step(self) -> None:
        """Drops what this step has recorded so far: it is begun again."""
        self.pending = [entry for entry in self.pending if entry[0] != self.step]
        self.num_pending = sum(len(losses.rows) for _, _, losses in self.pending)

    def on_step_begin(self, args: Args, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        self.step = state.global_step + 1
        self.epoch = int(state.epoch or 0)  # used where a batch does not carry its epoch

    def on_step_end(self, args: Args, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        # The losses are written before the checkpoint, so that a kill between the two loses no rows.
        if control.should_save or control.should_training_stop or self.num_pending >= SHARD_ROWS:
            self.flush()

    def on_train_end(self, args: Args, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        self.flush()

    def on_evaluate(self, args: Args, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """The end of a scoring, in which nothing is learned: one row for each example."""
        self.flush()

    def flush(self) -> None:
        """Writes the pending losses as one shard; UserError where a loss is not finite."""
        if self.pending:
            with logging_losses():
                self._write()

    def _write(self) -> None:
        steps = np.concatenate([np.full(len(losses.rows), step) for step, _, losses in self.pending])
        rows, loss_sum, num_tokens, epochs = _to_host(self.pending)
        real = rows >= 0  # a rank that had nothing to do had an empty micro-batch with the row -1
        steps, rows, loss_sum, num_tokens, epochs = (a[real] for a in (steps, rows, loss_sum, num_tokens, epochs))
        if not np.isfinite(loss_sum).all():
            bad = int(np.flatnonzero(~np.isfinite(loss_sum))[0])
            raise UserError(
                f"the loss of example {self.ids[int(rows[bad])]} became {loss_sum[bad]} at step {steps[bad]}: "
                "lower train.*.lr, or look at that example"
            )
        table = pa.table(
            [
                taken(self.ids, rows),
                taken(self.sources, rows),
                *(pa.array(a) for a in (num_tokens, loss_sum, np.full(len(rows), self.rank), steps, epochs)),
            ],
            names=LOSS_SCHEMA.names,
        )
        if len(rows):
            write_shard(shard_path(self.folder, self.rank, int(steps.max())), table.cast(LOSS_SCHEMA))
        self.pending, self.num_pending = [], 0


def _chunked(texts: Sequence[str] | pa.ChunkedArray) -> pa.ChunkedArray:
    return texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([pa.array(texts, pa.string())])


def lacking(folder: Path, expected: Sequence[int]) -> str:
    """What the log lacks or holds twice, in words. Empty where epoch e has each of its `expected[e]` examples once."""
    if not any(expected):
        return ""
    try:
        counted = scan_shards(folder).group_by("epoch").agg(pl.len(), ids=pl.col("id").hash().n_unique())
        logged = {epoch: (count, ids) for epoch, count, ids in counted.collect(engine="streaming").iter_rows()}
    except (UserError, pl.exceptions.PolarsError, OSError) as error:
        return reason(error)
    for epoch, rows in enumerate(expected):
        count, ids = logged.get(epoch, (0, 0))
        if (count, ids) != (rows, rows):
            return f"epoch {epoch} has {count} rows of {ids} examples, and there are {rows}"
    return ""


def _to_host(pending: list[tuple[int, int, ExampleLosses]]) -> tuple[np.ndarray[Any, Any], ...]:
    """The arrays rows, loss_sum, num_tokens and epochs, each copied from the device at once."""
    losses = [entry for _, _, entry in pending]
    epochs = [
        entry.epoch.expand(len(entry.rows)).cpu() if entry.epoch is not None else torch.full((len(entry.rows),), epoch)
        for _, epoch, entry in pending
    ]
    columns = [
        torch.cat([entry.rows for entry in losses]),
        torch.cat([entry.loss_sum for entry in losses]).double(),
        torch.cat([entry.num_tokens for entry in losses]),
        torch.cat(epochs),
    ]
    return tuple(column.cpu().numpy() for column in columns)


class LossCollator:
    """For a plain Trainer: makes a batch for models with `attach` from rows {"input_ids", "num_prompt" or "turns",
    "row"}."""

    def __init__(self, layout: str = "rows", pad_token: int = 0):
        self.layout, self.pad_token = layout, pad_token

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = collate(
            [_encoded(row) for row in rows],
            [row["row"] for row in rows],
            self.layout,
            self.pad_token,
        )
        batch.pop("packed", None)  # a trainer may expect tensors alone; transformers finds it then
        # The Trainer counts `labels` to normalise over devices and accumulated batches. It leaves out the first label
        # of each row, because causal losses shift them; one more column makes the count equal to the label tokens.
        labels = batch["loss_targets"].new_full((1, 1 + len(batch["loss_targets"])), -100)
        labels[0, 1:] = batch["loss_targets"]
        return batch | {"labels": labels}


def _encoded(row: dict[str, Any]) -> Encoded:
    return (row["input_ids"], row["turns"]) if "turns" in row else after_prompt(row["input_ids"], row["num_prompt"])
