"""What is told of a tracked run, and what a place that keeps such runs must be able to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Cell = str | float | bool | None


@dataclass(frozen=True)
class Artifact:
    """Files that a stage reads or makes, under one name."""

    name: str
    """Such as noisy-data; the name of the run comes before it."""
    kind: str
    """dataset, model, signals, evaluation or report."""
    files: Mapping[str, Path]
    """{name in the artifact: file}."""


@dataclass(frozen=True)
class Origin:
    """What a tracked run is of."""

    folder: Path
    """The run folder."""
    stage: str
    settings: dict[str, Any]
    """The configuration as a JSON value, with references in the place of secrets."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Versions, commit and hashes of the data, which stand beside the settings."""
    tags: Sequence[str] = ()


class Backend(Protocol):
    """Where a tracked run is logged. Every method may raise anything."""

    @property
    def title(self) -> str:
        """The name of the place, for people."""

    def log(self, values: dict[str, float], step: int | None) -> None: ...
    def summary(self, values: dict[str, float]) -> None: ...
    def table(self, name: str, columns: list[str], rows: list[list[Cell]]) -> None: ...
    def histogram(self, name: str, counts: NDArray[np.int64], edges: NDArray[np.float64]) -> None: ...
    def lineage(self, used: Sequence[Artifact], made: Sequence[Artifact]) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None:
        """Ends what is left of the run after an error, and prints nothing."""
