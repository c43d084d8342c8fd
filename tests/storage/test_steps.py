from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from forgetfilter.errors import Stopped
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import World
from forgetfilter.storage.shards import LOSS_SCHEMA, merged, shard_path
from forgetfilter.storage.steps import Begun, write_steps

ALONE = World(0, 1, 0)


def table(step: int) -> pa.Table:
    row = {"id": f"id{step}", "source": "toy", "num_tokens": 1, "loss_sum": float(step), "rank": 0, "step": step}
    return pa.Table.from_pylist([row | {"epoch": 0}], schema=LOSS_SCHEMA)


@pytest.mark.parametrize("shard_rows", [1, 2, 10])
def test_a_table_is_made_once_the_next_step_has_begun(tmp_path: Path, shard_rows: int) -> None:
    # A GPU has work while a table is made, and every step is there once, whatever a shard holds.
    told: list[str] = []

    def compute(step: int) -> Begun:
        told.append(f"begun {step}")
        return lambda: told.append(f"made {step}") or table(step)

    write_steps(3, compute, tmp_path, LOSS_SCHEMA, shard_rows, ALONE, "toy")
    assert told == ["begun 0", "begun 1", "made 0", "begun 2", "made 1", "made 2"]
    assert merged(tmp_path)["loss_sum"].to_list() == [0, 1, 2]


def test_a_signal_loses_no_step_that_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The step whose table was not made yet is saved too, and the next try does the others.
    steps: list[int] = []

    def compute(step: int) -> Any:
        steps.append(step)
        return lambda: table(step)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(interrupts, "requested", lambda: len(steps) == 2)
        write_steps(4, compute, tmp_path, LOSS_SCHEMA, 10, ALONE, "toy")
    assert len(merged(tmp_path)) == 2
    write_steps(4, compute, tmp_path, LOSS_SCHEMA, 10, ALONE, "toy")
    assert steps == [0, 1, 2, 3] and len(merged(tmp_path)) == 4


def stopped_after_two(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first shard of work of four steps that was stopped after two."""
    calls = iter(range(9))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(interrupts, "requested", lambda: next(calls) >= 1)
        write_steps(4, table, folder, LOSS_SCHEMA, 1, ALONE, "toy")
    return shard_path(folder, 0, 0)


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "deleted"])
def test_what_was_damaged_while_the_work_stood_still_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    # No number of a damaged shard is taken: its steps are done again, and the line names it.
    shard = stopped_after_two(tmp_path, monkeypatch)
    content = bytearray(shard.read_bytes())
    content[len(content) // 4] ^= 1
    kept = {"cut": content[:-9], "emptied": b"", "flipped": content, "deleted": b""}[damage]
    shard.write_bytes(kept)
    if damage == "deleted":
        shard.unlink()
    capsys.readouterr()
    write_steps(4, table, tmp_path, LOSS_SCHEMA, 1, ALONE, "toy")
    assert merged(tmp_path)["loss_sum"].to_list() == [0, 1, 2, 3]
    told = capsys.readouterr().err.replace("\n", "")
    assert damage == "deleted" or f"{shard} is damaged, and what it held is made again" in told
