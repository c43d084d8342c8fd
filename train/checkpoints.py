"""Checkpoints that are known to be whole: each has a list of all ranks' files with their sums, which is written last.

A training resumes from the newest checkpoint whose files are all there and unchanged. transformers and DeepSpeed do not
check this: with a file missing they end in a traceback, or go on silently with another random state.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from forgetfilter.errors import UserError
from forgetfilter.files import read_json, sha256_file, write_json
from forgetfilter.process.distributed import World, barrier, gathered, shared, world
from forgetfilter.process.progress import console

LIST = "files.json"  # {path below the checkpoint: sha256}
NOTE = "world.json"  # stands beside the checkpoints and says how many ranks write them
KNOWN = (  # classes in DeepSpeed's checkpoints, beside tensors and plain values
    "deepspeed.runtime.fp16.loss_scaler:LossScaler",
    "deepspeed.runtime.fp16.loss_scaler:DynamicLossScaler",
    "deepspeed.runtime.zero.config:ZeroStageEnum",
    "deepspeed.utils.tensor_fragment:fragment_address",
)
PICKLED_SETTINGS = "training_args.bin"  # a pickle that transformers writes and nobody reads


class Seal(TrainerCallback):
    """Lists the files of each checkpoint once all ranks have written theirs."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        seal(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}", world())


def seal(checkpoint: Path, here: World) -> None:
    """Writes the list of a checkpoint's files; to be called by every rank."""
    barrier()  # after it the files of every rank are there
    if here.is_main:
        (checkpoint / PICKLED_SETTINGS).unlink(missing_ok=True)
    barrier()
    sums = _sums(checkpoint, here)
    if here.is_main:
        write_json(checkpoint / LIST, sums)
    barrier()


def _sums(checkpoint: Path, here: World) -> dict[str, str]:
    """The sums of a checkpoint's files by path; to be called by every rank, each of which reads a share of them."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != LIST)
    parts = len(gathered(here.rank))
    own = {str(path.relative_to(checkpoint)): sha256_file(path) for path in files[here.rank % parts :: parts]}
    return {name: value for part in gathered(own) for name, value in part.items()}


def resumable(folder: Path, here: World, deepspeed: bool) -> str | None:
    """The checkpoint to resume from, or None; to be called by every rank. One that is not whole is named and removed.

    Steps do not depend on the number of ranks, so any number of ranks can resume. Under DeepSpeed, however, each rank
    writes a part that only the same number of ranks can read: UserError for another number. Rank 0 notes the number.
    """
    note = shared(_read_note(folder / NOTE) if here.is_main else None)
    checkpoint = _newest_whole(folder, here, bool(note.get("listed")))
    if deepspeed and checkpoint and (written := note.get("world_size", here.size)) != here.size:
        raise UserError(
            f"{folder} is DeepSpeed's of {written} ranks, which {here.size} cannot read: go on with {written} ranks, "
            "or delete that folder to start the stage anew"
        )
    if here.is_main:
        write_json(folder / NOTE, {"world_size": here.size, "listed": True})
    return str(checkpoint) if checkpoint else None


def _read_note(path: Path) -> dict[str, Any]:
    note = read_json(path) if path.exists() else {}
    return note if isinstance(note, dict) else {}


def _newest_whole(folder: Path, here: World, listed: bool) -> Path | None:
    """The newest checkpoint that is whole.

    `listed` says that the run writes lists, so that a checkpoint without one was cut off while it was saved. In a run
    of an older version without lists, a checkpoint counts as whole if it has the trainer's state, which is written
    last; it gets its list now.
    """
    found = folder.glob("checkpoint-*") if folder.is_dir() else ()
    folders = [path for path in found if path.name.rpartition("-")[2].isdecimal() and path.is_dir()]
    numbered = sorted(folders, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in shared([str(path) for path in numbered]):
        path = Path(checkpoint)
        trouble = _trouble(path, here, listed)
        if not trouble:
            if not (path / LIST).exists():
                seal(path, here)
            return path
        barrier()
        if here.is_main:
            told = f"{path} is not whole ({trouble}): resuming from the one before it, if there is one"
            console.print(told, soft_wrap=True)
            shutil.rmtree(path)
    return None


def _trouble(checkpoint: Path, here: World, listed: bool) -> str:
    """Why a checkpoint is not whole, or an empty text; to be called by every rank, and the same on each."""
    known = _is_json(checkpoint / LIST)
    if not known:
        old = not listed and not (checkpoint / LIST).exists() and _is_json(checkpoint / "trainer_state.json")
        return str(shared("" if old else "it has no list of its files"))
    wanted = json.loads((checkpoint / LIST).read_text(encoding="utf-8"))
    sums = _sums(checkpoint, here)
    if lacking := sorted(set(wanted) - set(sums)):
        return f"{lacking[0]} is missing"
    changed = sorted(name for name, value in sums.items() if wanted.get(name) != value)
    return f"{changed[0]} is not as it was written" if changed else ""


def _is_json(path: Path) -> bool:
    """Whether the file is there and holds a whole JSON object, which a full disk would have cut short."""
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False
