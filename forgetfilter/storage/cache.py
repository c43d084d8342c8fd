"""What was costly to make, kept in the cache by the hash of what made it: a folder of Parquet pieces.

Pieces are only ever added, whole or not at all, each named by what it holds: several runs may write at once.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from forgetfilter.files import atomic_path, sha256_value
from forgetfilter.storage.shards import scan


def read_kept(folder: Path, wanted: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """The values of those of the `wanted` keys that are there."""
    if not (files := sorted(folder.glob("part-*.parquet"))):
        return {}
    keys = pl.LazyFrame({"key": list(wanted)}, schema={"key": pl.String})
    found = scan(files).join(keys, on="key", how="semi").unique("key", keep="any").collect()
    return {key: tuple(values) for key, *values in found.iter_rows()}


def keep(folder: Path, values: dict[str, tuple[Any, ...]], columns: dict[str, Any]) -> None:
    """Adds a piece of values by key; `columns` are their names and types."""
    if not values:
        return
    frame = pl.DataFrame(
        [(key, *value) for key, value in values.items()], schema={"key": pl.String} | columns, orient="row"
    )
    with atomic_path(folder / f"part-{sha256_value(sorted(values))[:24]}.parquet") as temporary:
        frame.write_parquet(temporary)
