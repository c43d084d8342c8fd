"""Values that were costly to make, kept in the cache by the hash of what made them, as a folder of Parquet pieces.

Pieces are only ever added, each whole and named by what it holds, so several runs may write at the same time. One that
is damaged is removed, and what it held is made again.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from forgetfilter.files import sha256_value
from forgetfilter.storage.shards import scan, undamaged, write_shard


def read_kept(folder: Path, wanted: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """{key: values} of the `wanted` keys that the folder has."""
    if not (files := undamaged(sorted(folder.glob("part-*.parquet")))):
        return {}
    keys = pl.LazyFrame({"key": list(wanted)}, schema={"key": pl.String})
    found = scan(files).join(keys, on="key", how="semi").unique("key", keep="any").collect()
    return {key: tuple(values) for key, *values in found.iter_rows()}


def keep(folder: Path, values: dict[str, tuple[Any, ...]], columns: dict[str, Any]) -> None:
    """Adds a piece with the values of each key; `columns` gives their names and types."""
    if not values:
        return
    frame = pl.DataFrame(
        [(key, *value) for key, value in values.items()], schema={"key": pl.String} | columns, orient="row"
    )
    piece = folder / f"part-{sha256_value(sorted(values))[:24]}.parquet"
    write_shard(piece, frame.to_arrow(compat_level=pl.CompatLevel.oldest()))
