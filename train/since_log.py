"""What was learned since the last log, over all ranks: the loss of each source, and the memory that it took."""

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers import TrainingArguments as Args

from forgetfilter.errors import printable
from forgetfilter.models.example_losses import ExampleLosses
from forgetfilter.process.distributed import gathered
from forgetfilter.process.peak_memory import largest, stage_peak

MOST = 20  # sources that are told one by one: those with the most rows
OTHERS = "others"


class SinceLog(TrainerCallback):
    """Collects the losses of the examples on the device, and adds them up when a log asks for it."""

    def __init__(self, sources: pa.ChunkedArray):
        """`sources[row]` is that of the example that the batches call `row`."""
        self.names, self.codes = _coded(sources)
        self.pending: list[ExampleLosses] = []
        self.whole = 0  # those of `pending` that are of finished steps

    def record(self, losses: ExampleLosses) -> None:
        """Takes the losses from `attach`. They stay on the device, so nothing waits for it."""
        self.pending.append(losses)

    def forget_step(self) -> None:
        """Drops what this step has recorded so far: it is begun again."""
        del self.pending[self.whole :]

    def on_step_end(self, args: Args, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        self.whole = len(self.pending)

    def told(self) -> dict[str, float]:
        """`memory_gb` and `gpu_gb` (the peak so far of the largest rank), and `loss/SOURCE`, nats a label token. To be
        called by every rank."""
        parts = gathered((self._sums(), stage_peak()))
        sums = np.sum([part for part, _ in parts], axis=0)
        self.pending, self.whole = [], 0
        by_source = {f"loss/{name}": float(loss / count) for name, loss, count in zip(self.names, *sums) if count}
        return largest([peaks for _, peaks in parts]) | by_source

    def _sums(self) -> NDArray[np.float64]:
        """[2, S] nats and label tokens of each source, of this rank."""
        if not self.pending:
            return np.zeros((2, len(self.names)))
        rows, loss_sum, num_tokens = (
            torch.cat([getattr(losses, name) for losses in self.pending]).double().cpu().numpy()
            for name in ("rows", "loss_sum", "num_tokens")
        )
        real = rows >= 0  # a rank that had nothing to do had an empty micro-batch with the row -1
        codes = self.codes[rows[real].astype(np.int64)]
        return np.stack([np.bincount(codes, value[real], len(self.names)) for value in (loss_sum, num_tokens)])


def _coded(sources: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int32]]:
    """The names of the sources that are told, and the number of each row's; those beyond MOST are OTHERS."""
    found = sources.dictionary_encode().combine_chunks()
    codes = np.asarray(found.indices)
    names = [printable(str(name)) for name in found.dictionary.to_pylist()]
    if len(names) <= MOST:
        return names, codes
    order = np.argsort(-np.bincount(codes, minlength=len(names)), kind="stable")
    place = np.empty(len(names), dtype=np.int32)
    place[order] = np.minimum(np.arange(len(names)), MOST)
    return [*(names[number] for number in order[:MOST]), OTHERS], place[codes]
