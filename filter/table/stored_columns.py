"""Further columns of the joined table, which exist only where an earlier stage was asked for them.

| folder | columns | from |
| --- | --- | --- |
| signals/base | base_loss_sum | score.base=true: nats under M0 |
| signals/control | control_loss_sum | a control set: nats after the control finetuning |
| signals/noise | noise_loss_sum | score.noise=true: nats under M1 once more, in other batches |
| signals/tokens | token_accuracy_drop, token_rise_max, token_rise_top, token_rise_ratio | score.tokens=true |
| signals/turns | turn_rise_max | rows of which several answers are learned |
| signals/gradients | gradient_distance | score.gradients=true |
| signals/embeddings | embedding_distance | score.encoder=NAME |
| signals/guard | guard | score.guard.name=NAME: the probability of harm |
| signals/rouge1/{before,after} | before_rouge1, after_rouge1 | score.rouge=true |
| signals/texts/NAME | cluster, safe_distance, profanity | filter/texts/text_columns.py, when a signal needs it |
| data/probes.jsonl | probe_rise | probes (filter/probes.py) |
| train/noisy/losses | noisy_loss_rises, noisy_variability, noisy_confidence | train.log_losses=true |
"""

from collections.abc import Callable, Collection, Iterator
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from forgetfilter.errors import UserError
from forgetfilter.storage.shards import check_comparable, read_manifest, scan_shards

from ..signals import ROUGE_COLUMNS, every
from ..texts import text_columns
from .join import AGAIN, Joiner, Kinds, pick, refuse

NOISE = "noise_loss_sum"  # M1's losses once more (score.noise=true), for no signal, but to measure the noise of one
TEXTS: dict[str, Kinds] = {
    "texts/cluster": {"cluster": ("cluster", np.int32)},
    "texts/safe_distance": {"safe_distance": ("safe_distance", np.float64)},
    "texts/profanity": {"profanity": ("profanity", np.float64)},
}
DYNAMICS = ("noisy_loss_rises", "noisy_variability", "noisy_confidence")


@cache
def stored_folders() -> dict[str, Kinds]:
    """{FOLDER below signals/: its columns} that the score stage stores where a signal asks for them."""
    found: dict[str, Kinds] = {"noise": {"loss_sum": (NOISE, np.float64)}}
    for stored in (stored for signal in every() for stored in signal.stored if stored.folder):
        for column in stored.columns:
            name = "loss_sum" if column == f"{stored.folder}_loss_sum" else column
            found.setdefault(stored.folder, {})[name] = (column, np.float64)
    return found


def add_extras(joiner: Joiner, signals: Path, wanted: Collection[str] | None, everything: bool) -> tuple[str, ...]:
    """Adds the wanted columns (None: all) that exist and are complete. Raises UserError where one cannot be read.

    With `everything` it also adds columns that nobody wants, as far as they can be read, and returns why others are not
    added.
    """
    left_out = []
    for columns, add in _stored(joiner, signals):
        asked = wanted is None or not set(columns).isdisjoint(wanted)
        if not asked and not everything:
            continue
        try:
            add()
        except UserError as error:
            if asked:
                raise
            left_out.append(str(error))
            for column in set(columns) & set(joiner.columns.types):
                joiner.columns.drop(column)
    return tuple(left_out)


def _stored(joiner: Joiner, signals: Path) -> Iterator[tuple[Collection[str], Callable[[], None]]]:
    """(columns, what adds them) of each folder that is there."""
    data = read_manifest(signals / "before").get("data")
    for name, kinds in (stored_folders() | TEXTS).items():
        folder = signals / name
        if (folder / "manifest.json").exists() and (name not in TEXTS or text_columns.stored(signals, folder.name)):
            yield [column for column, _ in kinds.values()], partial(_add, joiner, folder, kinds, data)
    if all((signals / "rouge1" / state / "manifest.json").exists() for state in ("before", "after")):
        yield ROUGE_COLUMNS, partial(_add_rouge, joiner, signals / "rouge1")
    losses = signals.parent / "train" / "noisy" / "losses"
    if (losses / "manifest.json").exists() and read_manifest(losses).get("data") == data:
        yield DYNAMICS, partial(_add_dynamics, joiner, losses)


def _add(joiner: Joiner, folder: Path, kinds: Kinds, data: str | None) -> None:
    before = folder.parent / "before"
    if folder.parent.name != "texts" and read_manifest(folder).get("data") != data:
        raise UserError(f"{folder} is of other data than {before}: {AGAIN}")
    if folder.name == "control":
        check_comparable(before, folder)
    joiner.add(folder, kinds)


def _add_rouge(joiner: Joiner, folder: Path) -> None:
    check_comparable(folder / "before", folder / "after")
    for name in ROUGE_COLUMNS:
        own = folder / name.removesuffix("_rouge1")
        joiner.add(own, {"rouge1": (name, np.float64)})
        wrong = joiner.columns.where(~pl.col(name).is_between(0, 1), [name])
        refuse(pick(joiner.ids, wrong), f"{own}: rouge1 is not between 0 and 1 for {{}}; {AGAIN}")


def _add_dynamics(joiner: Joiner, folder: Path) -> None:
    """How each example's loss moved over the epochs of its training; the hook has one row for each epoch."""
    epochs = int(scan_shards(folder).select(pl.col("epoch").max()).collect().item()) + 1
    names = [f"epoch{number}" for number in range(epochs)]
    for number, name in enumerate(names):
        joiner.add(folder, {"loss_sum": (name, np.float64)}, pl.col("epoch") == number)
    tokens = pl.col("num_tokens").clip(1)
    probability = [(-pl.col(name) / tokens).exp() for name in names]
    risen = [(pl.col(later) > pl.col(earlier)).cast(pl.Int32) for earlier, later in pairwise(names)]
    mean = pl.col("noisy_confidence")  # a column, since an expression within each term grows with the square of epochs
    made: dict[str, tuple[pl.Expr, Any]] = {
        "noisy_confidence": (pl.sum_horizontal(probability) / epochs, np.float64),
        "noisy_loss_rises": (pl.sum_horizontal(pl.lit(0, pl.Int32), *risen), np.int32),
        "noisy_variability": ((pl.sum_horizontal((p - mean) ** 2 for p in probability) / epochs).sqrt(), np.float64),
    }
    for name, (expression, kind) in made.items():
        joiner.columns.write(name, joiner.columns.compute(expression, expression.meta.root_names(), kind))
    for name in names:
        joiner.columns.drop(name)
