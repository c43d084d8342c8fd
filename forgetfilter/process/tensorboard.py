"""A stage tracked in TensorBoard's files, RUN/tensorboard/STAGE: `tensorboard --logdir RUN/tensorboard` shows them."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetfilter.process.tracked_run import Artifact, Cell, Origin


class TensorBoard:
    """Writes with torch's own writer. Tables become texts, and artifacts are left out, for which it has no place."""

    title = "TensorBoard"

    def __init__(self, origin: Origin):
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(origin.folder / "tensorboard" / origin.stage))
        self.writer.add_text("settings", _as_it_is(json.dumps(origin.settings | origin.facts, indent=2)))

    def log(self, values: dict[str, float], step: int | None) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def summary(self, values: dict[str, float]) -> None:
        self.log(values, None)

    def table(self, name: str, columns: list[str], rows: list[list[Cell]]) -> None:
        lines = [columns, *(["" if cell is None else str(cell) for cell in row] for row in rows)]
        self.writer.add_text(name, _as_it_is("\n".join("\t".join(line) for line in lines)))

    def histogram(self, name: str, counts: NDArray[np.int64], edges: NDArray[np.float64]) -> None:
        middles = (edges[1:] + edges[:-1]) / 2
        self.writer.add_histogram_raw(
            name,
            min=edges[0],
            max=edges[-1],
            num=int(counts.sum()),
            sum=float((middles * counts).sum()),
            sum_squares=float((middles**2 * counts).sum()),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
        )

    def lineage(self, used: Sequence[Artifact], made: Sequence[Artifact]) -> None:
        pass

    def finish(self) -> None:
        self.writer.close()

    def abandon(self) -> None:
        pass


def _as_it_is(text: str) -> str:
    """Text as Markdown shows it unchanged."""
    return "\n".join(f"    {line}" for line in text.splitlines())
