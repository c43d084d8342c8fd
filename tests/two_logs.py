"""Rows, and two loss logs of them, as the trainer of somebody else leaves them."""

import json
from pathlib import Path

import polars as pl

from forgetfilter.api import ids
from forgetfilter.storage.shards import shard_path

ROWS = [{"prompt": f"{n}?", "completion": str(n)} for n in range(12)]


def write_two_logs(folder: Path) -> list[str]:
    """Writes noisy.jsonl with ROWS, safe.jsonl, and the logs `before` and `after`, by which the rows are forgotten the
    more the later they come. Returns the ids of ROWS."""
    for name, given in (("noisy", ROWS), ("safe", [{"text": "a"}])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    for state, rise in (("before", 0.0), ("after", 1.0)):
        path = shard_path(folder / state, 0, 0)
        path.parent.mkdir(parents=True)
        sums = [1.0 + rise * n for n in range(len(ROWS))]
        pl.DataFrame({"id": ids(ROWS), "num_tokens": [2] * len(ROWS), "loss_sum": sums}).write_parquet(path)
    return ids(ROWS)
