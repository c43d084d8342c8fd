"""Which checkpoint a training goes on from, whatever happened to the files of the newest."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from forgetfilter.train.checkpoints import LIST, NOTE, resumable, seal

from forgetfilter.process.distributed import World

ALONE = World(0, 1, 0)
FILES = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "rng_state_1.pth")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints after 2 and 4 steps of two ranks, each whole."""
    resumable(tmp_path, ALONE, False)
    for step in (2, 4):
        checkpoint = tmp_path / f"checkpoint-{step}"
        checkpoint.mkdir()
        for name in (*FILES, "training_args.bin"):
            (checkpoint / name).write_text(f"{name} {step}")
        (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))
        seal(checkpoint, ALONE)
    return tmp_path


def newest(folder: Path) -> str | None:
    found = resumable(folder, ALONE, False)
    return Path(found).name if found else None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", [*FILES, "trainer_state.json", LIST])
@pytest.mark.parametrize("damage", [Path.unlink, cut, flip, empty])
def test_a_checkpoint_that_is_not_whole_gives_way_to_the_one_before(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, damage: Callable[[Path], object]
) -> None:
    # Whichever file of whichever rank is lost, cut short, emptied or changed by a bit, one line says so.
    assert newest(folder) == "checkpoint-4"
    damage(folder / "checkpoint-4" / name)
    assert newest(folder) == "checkpoint-2"
    assert newest(folder) == "checkpoint-2" and not (folder / "checkpoint-4").exists()


def test_without_any_whole_one_the_training_starts_anew(folder: Path) -> None:
    # A rank that was killed before it wrote leaves no list.
    for step in (2, 4):
        (folder / f"checkpoint-{step}" / LIST).unlink()
    assert newest(folder) is None
    assert not [*folder.glob("checkpoint-*")]


def test_checkpoints_from_before_there_were_lists_still_count(folder: Path) -> None:
    # They count by the trainer's state, as before. The one from which a training resumes gets its list, so that it
    # counts by that from now on.
    (folder / NOTE).write_text(json.dumps({"world_size": 2}))
    for step in (2, 4):
        (folder / f"checkpoint-{step}" / LIST).unlink()
    (folder / "checkpoint-4" / "trainer_state.json").write_text('{"cut": ')
    assert newest(folder) == "checkpoint-2"
    assert newest(folder) == "checkpoint-2"


def test_the_pickle_that_nobody_reads_is_not_kept(folder: Path) -> None:
    # The pickle of its settings that transformers writes is removed.
    assert not [*folder.rglob("training_args.bin")]


def test_a_planted_file_is_no_part_of_a_checkpoint(folder: Path) -> None:
    # DeepSpeed would read any file of the right name.
    shutil.copy(folder / "checkpoint-4" / "optimizer.pt", folder / "checkpoint-4" / "rng_state_2.pth")
    assert newest(folder) == "checkpoint-2"
