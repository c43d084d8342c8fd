"""Further columns of the joined table, each there only where an earlier stage was asked for it.

| folder | columns | from |
| --- | --- | --- |
| signals/base | base_loss_sum | score.base=true: nats under M0 |
| signals/control | control_loss_sum | a control set: nats after the control finetuning |
| signals/noise | noise_loss_sum | score.noise=true: nats under M1 once more, in other batches |
| signals/tokens | token_accuracy_drop, token_rise_max, token_rise_top, token_rise_ratio | score.tokens=true |
| signals/gradients | gradient_distance | score.gradients=true |
| signals/embeddings | embedding_distance | score.encoder=NAME |
| signals/guard | guard | score.guard.name=NAME: the probability of harm |
| signals/texts/NAME | cluster, safe_distance, profanity | filter/texts.py, when a signal needs it |
| data/probes.jsonl | probe_rise | probes (filter/probes.py) |
| train/noisy/losses | noisy_loss_rises, noisy_variability, noisy_confidence | train.log_losses=true |
"""

from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from forgetfilter.errors import UserError
from forgetfilter.shards import check_comparable, read_manifest, scan_shards
from forgetfilter.token_rises import COLUMNS as TOKEN_COLUMNS

from . import texts
from .join import AGAIN, Joiner, Kinds

TEXTS: dict[str, Kinds] = {
    "texts/cluster": {"cluster": ("cluster", np.int32)},
    "texts/safe_distance": {"safe_distance": ("safe_distance", np.float64)},
    "texts/profanity": {"profanity": ("profanity", np.float64)},
}
FOLDERS: dict[str, Kinds] = {
    "base": {"loss_sum": ("base_loss_sum", np.float64)},
    "control": {"loss_sum": ("control_loss_sum", np.float64)},
    "noise": {"loss_sum": ("noise_loss_sum", np.float64)},
    "gradients": {"gradient_distance": ("gradient_distance", np.float64)},
    "embeddings": {"embedding_distance": ("embedding_distance", np.float64)},
    "guard": {"guard": ("guard", np.float64)},
    "tokens": {name: (name, np.float64) for name in TOKEN_COLUMNS},
    **TEXTS,
}
STORED = tuple(name for name in FOLDERS if name not in TEXTS)  # by the score stage; texts follow from the data
DYNAMICS = ("noisy_loss_rises", "noisy_variability", "noisy_confidence")
ADVICE = {
    **dict.fromkeys(["base_loss_sum"], "M0's losses, which were not stored: score with score.base=true"),
    "control_loss_sum": "losses after a control finetuning: set data.control or mixture.control, train and score",
    **dict.fromkeys(TOKEN_COLUMNS, "the losses of tokens, which were not stored: score with score.tokens=true"),
    "gradient_distance": "gradients, which were not compared: score with score.gradients=true",
    "embedding_distance": "a sentence encoder's distances: score with score.encoder=all-minilm-l6-v2",
    "guard": "a guard's word, which was not asked: score with score.guard.name=NAME",
    "probe_rise": "probes: set data.probes or mixture.probes, and run again",
    **dict.fromkeys(DYNAMICS, "the losses of the noisy training, which were not logged: set train.log_losses=true"),
    **dict.fromkeys(["before_rouge1", "after_rouge1"], "ROUGE-1, which was not stored: score with score.rouge=true"),
}


def add_extras(joiner: Joiner, signals: Path, wanted: Collection[str] | None) -> None:
    """Adds what is wanted (None: everything), there and complete; UserError where it is of other data than before."""
    data = read_manifest(signals / "before").get("data")

    def asked(columns: Collection[str]) -> bool:
        return wanted is None or not set(columns).isdisjoint(wanted)

    for name, kinds in FOLDERS.items():
        folder = signals / name
        if not asked([column for column, _ in kinds.values()]) or not (folder / "manifest.json").exists():
            continue
        if name in TEXTS:
            if texts.stored(signals, folder.name):  # else it is made anew when a signal needs it
                joiner.add(folder, kinds)
            continue
        if read_manifest(folder).get("data") != data:
            raise UserError(f"{folder} is of other data than {signals / 'before'}: {AGAIN}")
        if name == "control":
            check_comparable(signals / "before", folder)
        joiner.add(folder, kinds)
    losses = signals.parent / "train" / "noisy" / "losses"
    if asked(DYNAMICS) and (losses / "manifest.json").exists() and read_manifest(losses).get("data") == data:
        _add_dynamics(joiner, losses)


def missing(needs: Sequence[str], there: Sequence[str]) -> str:
    """What a signal lacks, for the error; empty where it has all it needs."""
    lacking = [need for need in needs if need not in there]
    return ADVICE.get(lacking[0], f"the column {lacking[0]}") if lacking else ""


def _add_dynamics(joiner: Joiner, folder: Path) -> None:
    """How each example's loss moved over the epochs in which it was learned, from one row of the hook an epoch."""
    epochs = int(scan_shards(folder).select(pl.col("epoch").max()).collect().item()) + 1
    names = [f"epoch{number}" for number in range(epochs)]
    for number, name in enumerate(names):
        joiner.add(folder, {"loss_sum": (name, np.float64)}, pl.col("epoch") == number)
    tokens = pl.col("num_tokens").clip(1)
    probability = [(-pl.col(name) / tokens).exp() for name in names]
    mean = pl.sum_horizontal(probability) / epochs
    risen = [(pl.col(later) > pl.col(earlier)).cast(pl.Int8) for earlier, later in pairwise(names)]
    made: dict[str, tuple[pl.Expr, Any]] = {
        "noisy_loss_rises": (pl.sum_horizontal(pl.lit(0, pl.Int8), *risen), np.int8),
        "noisy_variability": ((pl.sum_horizontal((p - mean) ** 2 for p in probability) / epochs).sqrt(), np.float64),
        "noisy_confidence": (mean, np.float64),
    }
    for name, (expression, kind) in made.items():
        joiner.columns.write(name, joiner.columns.compute(expression, ["num_tokens", *names], kind))
    for name in names:
        joiner.columns.drop(name)
