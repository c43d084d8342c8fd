"""Whether the disk can hold what the trainings write: an estimate from numbers that are known before the first.

A finished training leaves its model: 4 bytes a trained parameter, 2 in full in bfloat16. While it runs there are up to
three checkpoints (a third is written before the oldest goes), each the model and the optimizer's states (AdamW's two
moments are 8 bytes a trained parameter), and 4 bytes more where the optimizer keeps float32 copies (in full in
bfloat16, and under DeepSpeed). Beside them the data is written once more as kept and dropped rows and once as their
export, and an example has some 100 bytes in each epoch's loss log and in each scoring.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forgetfilter.config.schema import Config, LoraConfig
from forgetfilter.errors import UserError
from forgetfilter.models.memory import COPY, STATE_BYTES, sized
from forgetfilter.models.rehearsal import Training, outline
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.distributed import world
from forgetfilter.storage.results import read_set_rows
from forgetfilter.storage.run_paths import RunPaths

CHECKPOINTS = 3
LOGGED = 100  # bytes an example, of each pass
COPIES = 2  # of the data, in the filter's folder


@dataclass(frozen=True)
class Work:
    """What will be trained, in numbers."""

    trained: int
    """Parameters that are trained: all, or the adapters'."""
    full: bool
    copies: bool
    """Whether the optimizer keeps float32 copies of what it trains: DeepSpeed does, and full finetuning in bfloat16."""
    optimizer: str
    """One of STATE_BYTES in models/memory.py."""
    steps: Sequence[int]
    """Optimizer steps of each training."""
    checkpoint_steps: int
    """Between checkpoints; 0 for none but on a signal."""
    logged: int
    """Rows of all loss logs and scorings, where an example counts once for each epoch and each scoring."""
    data: int
    """Bytes of the noisy set."""

    @property
    def model(self) -> int:
        """Bytes of a finished model or adapter."""
        return self.trained * (2 if self.full and self.copies else 4)

    @property
    def checkpoints(self) -> int:
        """Bytes of the checkpoints of a training while there are most."""
        most = max(self.steps, default=0)
        number = min(CHECKPOINTS, -(-most // self.checkpoint_steps)) if self.checkpoint_steps else 1
        return number * (self.model + self.trained * (STATE_BYTES[self.optimizer] + (COPY if self.copies else 0)))

    @property
    def logs(self) -> int:
        """Bytes of the loss logs, the signals and the filter's files."""
        return self.logged * LOGGED + COPIES * self.data


def check_disk(config: Config, paths: RunPaths) -> str:
    """A line on how much of the disk the trainings need; UserError where the disk has not enough room."""
    base, rows = ModelSettings.of(config).base().path, read_set_rows(paths.folder)
    return check_room(paths.folder, disk_work(config, base, rows, paths.noisy_data.stat().st_size))


def disk_work(config: Config, base: Path, rows: dict[str, int], size: int) -> Work:
    """What is trained of the model in the folder `base`, for the estimate of the disk: with so many rows in each set,
    of which the noisy one has `size` bytes."""
    train, full = config.train, config.train.method == "full"
    return Work(
        trained_parameters(base, None if full else train.lora),
        full,
        train.deepspeed is not None or (full and ModelSettings.of(config).plain_dtype(world().device) == "bfloat16"),
        train.optimizer,
        [
            sum(epochs * -(-count // train.schedule(name).batch_size) for count, epochs in train.passes(name, rows))
            for name in config.trainings
        ],
        train.checkpoint_steps,
        sum(config.work(rows).values()),
        size,
    )


def trained_parameters(folder: Path, lora: LoraConfig | None) -> int:
    """How many parameters are trained of the model in a folder: those of its adapter, or all of them without one."""
    model = outline(folder, Training(lora, "float32", None, "eager", False, False))
    return sum(one.numel() for one in model.parameters() if one.requires_grad)


def check_room(folder: Path, work: Work) -> str:
    """What the trainings need of the disk, in a line. UserError where it cannot hold that beside what lies there.

    What an earlier try left in the run's folder is counted as room, since the same run writes it again.
    """
    needed, parts = disk_needs(work)
    free = shutil.disk_usage(folder).free
    said = f"{folder} needs about {sized(needed)} of disk ({parts}); {sized(free)} are free"
    own = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if needed > free + own:
        way = "make room, set output, or have fewer checkpoints (train.checkpoint_steps=0)"
        raise UserError(f"output: {said}: {way}")
    return said


def disk_needs(work: Work) -> tuple[int, str]:
    """The bytes that the trainings need of the disk, and their parts in words."""
    models = len(work.steps) * work.model
    parts = f"{len(work.steps)} models {sized(models)}, checkpoints {sized(work.checkpoints)}"
    return models + work.checkpoints + work.logs, f"{parts}, data and logs {sized(work.logs)}"
