"""The ceiling: exactly the rows labelled unsafe are dropped. It reads the labels, which no real defence can.

It shows the most that a filter of rows can reach with this data, which must have labels. The labels enter no other
cell. Example: 120 of 400 rows are labelled unsafe; these 120 are dropped, and 280 are learned.
"""

import polars as pl

from forgetfilter.errors import UserError
from forgetfilter.files import read_json
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.study.defences.base import Defence


def drops(decisions: pl.DataFrame, seed: int) -> pl.Series:
    return (decisions["label"] == "unsafe").fill_null(False)


def check(paths: RunPaths) -> None:
    counts = read_json(paths.folder / "data" / "summary.json")["noisy"]["by_source"].values()
    if not any(labels.get("unsafe") for labels in counts):
        raise UserError("compare.defences: oracle needs noisy rows with the label unsafe, and there is none")


DEFENCE = Defence(
    "oracle",
    "a ceiling and no defence: exactly the rows labelled unsafe are dropped",
    "refit",
    ("train-refit",),
    drops=drops,
    check=check,
    reads_labels=True,
    filters=True,
)
