"""A disk that is read-only or full, in every stage: one line, exit 2, and nothing that is not whole."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgetfilter import cli
from forgetfilter.pipeline import STAGES
from forgetfilter.storage.shards import merged

ROWS = "".join(json.dumps({"prompt": f"what is {n}?", "completion": f"it is {n}"}) + "\n" for n in range(24))
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", place], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def leave(disk: Path, pages: int) -> None:
    """Makes it so small that only `pages` pages are free."""
    room = os.statvfs(disk)
    remount(disk, f"rw,size={(room.f_blocks - room.f_bfree) * room.f_frsize + pages * PAGE}")


def call(stage: str, config: Path, name: str, capfd: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code, and the lines that are meant for the user."""
    command, _, word = stage.partition("-")
    with pytest.raises(SystemExit) as end:
        cli.main([command, str(config), *([word] if word else []), f"name={name}"])
    said = capfd.readouterr().err
    assert "Traceback" not in said
    return int(end.value.code or 0), [line for line in said.splitlines() if line.startswith("forgetfilter: ")]


def test_every_stage_survives_a_disk_that_takes_nothing_more(
    disk: Path, tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Each stage runs on a disk that is read-only, full, and nearly full, and goes on once there is room. The outcome is
    # that of a run that was never disturbed.
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "safe.jsonl").write_text('{"prompt": "who?", "completion": "nobody"}\n' * 1)
    (tmp_path / "prompts.jsonl").write_text('{"id": "a", "source": "s", "prompt": "tell"}\n')
    config = tmp_path / "config.yaml"
    config.write_text(
        f"output: {disk}/runs\ncache: {tmp_path}/cache\nmodel: {{name: {tiny_model}, dtype: float32}}\n"
        f"data: {{noisy: {{web: {{path: {tmp_path}/rows.jsonl}}}}, safe: {{ours: {{path: {tmp_path}/safe.jsonl}}}},\n"
        "  batch_tokens: 128}\n"
        "train: {checkpoint_steps: 1, noisy: {epochs: 2, lr: 1e-2, batch_size: 8}, safe: {epochs: 3, lr: 1e-2,\n"
        "  batch_size: 1}, refit: {epochs: 1, batch_size: 8}}\n"
        "score: {shard_rows: 4}\neval: {models: [refit], suites: [toxicity], max_new_tokens: 2,\n"
        f"  data: {{toxicity: {{path: {tmp_path}/prompts.jsonl}}}}}}\ntracking: {{mode: disabled}}\n"
    )
    for stage in [stage.name for stage in STAGES]:
        assert call(stage, config, "whole", capfd) == (0, [])
        for pages in (None, 0, 6, 40):
            remount(disk, "ro") if pages is None else leave(disk, pages)
            code, lines = call(stage, config, "tight", capfd)
            assert (code, len(lines)) in ((2, 1), (0, 0)), (stage, pages, lines)
            assert code == 2 or pages, (stage, pages)
            assert code == 0 or "cannot be written" in lines[0] or "make room" in lines[0], (stage, pages, lines)
        remount(disk, "rw,size=64m")
        assert call(stage, config, "tight", capfd) == (0, [])
    whole, tight = disk / "runs" / "whole", disk / "runs" / "tight"
    for file in (
        "data/noisy.jsonl",
        "filter/kept.jsonl",
        "filter/dropped.jsonl",
        "train/refit/adapter_model.safetensors",
    ):
        assert (tight / file).read_bytes() == (whole / file).read_bytes(), file
    for state in ("before", "after"):
        assert merged(tight / "signals" / state).equals(merged(whole / "signals" / state))
    assert not [path for path in tight.rglob("*") if path.name.endswith(".tmp")]
