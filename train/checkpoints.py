"""Checkpoints that are known to be whole: each has a list of every rank's files with their sums, written last.

A training goes on from the newest checkpoint whose files are all there and unchanged. transformers and DeepSpeed know
none of this: a file that lacks costs them a traceback, or another random state without a word.
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
NOTE = "world.json"  # beside the checkpoints: who writes them
PICKLED_SETTINGS = "training_args.bin"  # of transformers: a pickle that nobody reads


class Seal(TrainerCallback):
    """Lists the files of each checkpoint once all ranks have written theirs."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        seal(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}", world())


def seal(checkpoint: Path, here: World) -> None:
    """Writes the list of a checkpoint; a collective."""
    barrier()  # every rank's files are there
    if here.is_main:
        (checkpoint / PICKLED_SETTINGS).unlink(missing_ok=True)
    barrier()
    sums = _sums(checkpoint, here)
    if here.is_main:
        write_json(checkpoint / LIST, sums)
    barrier()


def _sums(checkpoint: Path, here: World) -> dict[str, str]:
    """The sums of a checkpoint's files by path, on every rank; each rank reads a share of them. A collective."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != LIST)
    parts = len(gathered(here.rank))
    own = {str(path.relative_to(checkpoint)): sha256_file(path) for path in files[here.rank % parts :: parts]}
    return {name: value for part in gathered(own) for name, value in part.items()}


def resumable(folder: Path, here: World, deepspeed: bool) -> str | None:
    """The checkpoint to go on from, None without one; a collective. One that is not whole is said, and removed.

    Steps do not depend on the number of ranks, so any number goes on from a checkpoint; but DeepSpeed's is in as many
    parts as there were ranks, and only as many read it: UserError for another number. Rank 0 notes who writes.
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
    found = read_json(path) if path.exists() else {}
    return found if isinstance(found, dict) else {}


def _newest_whole(folder: Path, here: World, listed: bool) -> Path | None:
    """`listed`: whether checkpoints without a list are of a run that was killed while it saved. Before there were lists
    the trainer's state, which is written last, had to do; such a checkpoint gets its list now."""
    found = folder.glob("checkpoint-*") if folder.is_dir() else ()
    numbered = sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in shared([str(path) for path in numbered]):
        path = Path(checkpoint)
        trouble = _trouble(path, here, listed)
        if not trouble:
            if not (path / LIST).exists():
                seal(path, here)
            return path
        barrier()
        if here.is_main:
            console.print(f"{path} is not whole ({trouble}): going on from the one before it, if there is one")
            shutil.rmtree(path)
    return None


def _trouble(checkpoint: Path, here: World, listed: bool) -> str:
    """Why a checkpoint is not whole, the same on every rank; empty where it is. A collective."""
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
    """Whether the file is there and holds an object: a full disk cuts it short."""
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False
