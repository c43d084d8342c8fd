"""Distance of each noisy example to the safe set, in any space: 1 less the largest cosine to a safe row.

The safe rows' vectors go to shards first, then the noisy rows' distances; both are spread over the ranks by steps and
go on from whole shards. The safe set's vectors are in memory, of the noisy data one step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from forgetfilter.process.distributed import World, barrier
from forgetfilter.storage.shards import scan_shards
from forgetfilter.storage.steps import write_steps

_STEP = pa.field("step", pa.int32())
SAFE_ROWS = 65_536  # compared at a time
VECTORS = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32())), _STEP])


@dataclass(frozen=True)
class Side:
    """One of the two sets."""

    steps: int
    """Parts in which it is gone through, the same for any world size."""
    unit: Callable[[int], tuple[Any, torch.Tensor]]
    """(ids [E], unit vectors [E, dimensions]) of a step's rows, float32; NaN for a row that has none."""


def write_distances(
    noisy: Side, safe: Side, folder: Path, column: str, shard_rows: int, world: World, what: str
) -> None:
    """Shards of `id` and the distance as `column` (NaN without a vector), and of the safe vectors in `folder`/safe.

    To be called by every rank.
    """
    schema = pa.schema([("id", pa.string()), (column, pa.float64()), _STEP])

    def walk(side: Side, to: Path, schema: pa.Schema, values: Callable[[torch.Tensor], pa.Array], name: str) -> None:
        def compute(step: int) -> pa.Table:
            ids, unit = side.unit(step)
            return pa.table([ids, values(unit), np.full(len(ids), step)], names=schema.names).cast(schema)

        write_steps(side.steps, compute, to, schema, shard_rows, world, f"{what} {name}")
        barrier()

    walk(safe, folder / "safe", VECTORS, lambda unit: pa.array(list(unit.float().cpu().numpy())), "safe")
    trusted = _trusted(folder / "safe").to(world.device)
    walk(noisy, folder, schema, lambda unit: pa.array(distance(unit, trusted)), "noisy")


def distance(unit: torch.Tensor, trusted: torch.Tensor) -> np.ndarray[Any, Any]:
    """[E] of unit vectors [E, dimensions] to the nearest of [S, dimensions]; NaN where S is 0.

    Example: cosines 0.1, 0.7 and -0.2 give 0.3.
    """
    if not len(trusted):
        return np.full(len(unit), np.nan)
    parts = [(unit @ part.T).max(dim=1).values for part in torch.split(trusted, SAFE_ROWS)]
    nearest = torch.stack(parts).max(dim=0).values
    found: np.ndarray[Any, Any] = (1 - nearest.double()).cpu().numpy()
    return found


def _trusted(folder: Path) -> torch.Tensor:
    """The safe rows' vectors, of those that have one, in the order of their ids."""
    found = scan_shards(folder).sort("id").select("vector").collect()["vector"]
    values = torch.from_numpy(found.explode().to_numpy(writable=True).reshape(len(found), -1))
    return values[~values.isnan().any(dim=1)]
