"""Distance of each noisy example to the safe set, in any space: 1 less the largest cosine to a safe row.

First the vectors of the safe rows are written to shards, then the distances of the noisy rows. Both are spread over the
ranks by steps, and a run that was stopped goes on from whole shards. The vectors of the whole safe set are in memory,
and those of one step of the noisy data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forgetfilter.process.distributed import World, barrier
from forgetfilter.storage.shards import scan_shards
from forgetfilter.storage.steps import write_steps

if TYPE_CHECKING:
    import torch  # the filter, which has vectors of its own, measures their distance without it

_STEP = pa.field("step", pa.int32())
COSINES = 20_000_000  # in memory at a time
VECTORS = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32())), _STEP])


@dataclass(frozen=True)
class Vectors:
    """One of the two sets."""

    steps: int
    """The number of steps in which it is read, the same for any world size."""
    unit: Callable[[int], tuple[Any, "torch.Tensor"]]
    """(ids [E], unit vectors [E, dimensions]) of a step's rows, float32; NaN for a row that has none."""


def write_distances(
    noisy: Vectors, safe: Vectors, folder: Path, column: str, shard_rows: int, world: World, what: str
) -> None:
    """Writes shards of `id` and the distance as `column` (NaN without a vector), and the safe vectors to `folder`/safe.

    To be called by every rank.
    """
    schema = pa.schema([("id", pa.string()), (column, pa.float64()), _STEP])

    def walk(
        source: Vectors, to: Path, schema: pa.Schema, values: Callable[[NDArray[Any]], pa.Array], name: str
    ) -> None:
        def compute(step: int) -> pa.Table:
            ids, unit = source.unit(step)
            vectors = unit.float().cpu().numpy()
            return pa.table([ids, values(vectors), np.full(len(ids), step)], names=schema.names).cast(schema)

        write_steps(source.steps, compute, to, schema, shard_rows, world, f"{what} {name}")
        barrier()

    walk(safe, folder / "safe", VECTORS, lambda unit: pa.array(list(unit)), "safe")
    trusted = _trusted(folder / "safe")
    walk(noisy, folder, schema, lambda unit: pa.array(distance(unit, trusted)), "noisy")


def distance(unit: NDArray[Any], trusted: NDArray[Any]) -> NDArray[np.float64]:
    """[E] of unit vectors [E, dimensions]: 1 less the largest cosine to one of [S, dimensions]; NaN where S is 0.

    Example: cosines 0.1, 0.7 and -0.2 give 0.3.
    """
    if not len(trusted):
        return np.full(len(unit), np.nan)
    step = max(1, COSINES // len(trusted))
    nearest = [(unit[start : start + step] @ trusted.T).max(1) for start in range(0, len(unit), step)]
    return 1 - np.concatenate(nearest).astype(np.float64)


def _trusted(folder: Path) -> NDArray[Any]:
    """The safe rows' vectors, of those that have one, in the order of their ids."""
    found = scan_shards(folder).sort("id").select("vector").collect()["vector"]
    values: NDArray[Any] = found.explode().to_numpy().reshape(len(found), -1)
    whole: NDArray[Any] = values[~np.isnan(values).any(1)]
    return whole
