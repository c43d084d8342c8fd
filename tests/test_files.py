import os
import subprocess
import sys
from pathlib import Path

import pytest

from forgetfilter.errors import UserError
from forgetfilter.files import (
    atomic_folder,
    atomic_path,
    read_json,
    remove_left_over,
    sha256_file,
    sha256_value,
    write_json,
)


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    # An error inside the block leaves neither the file nor its temporary one.
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "x" / "f") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert list((tmp_path / "x").iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    # Temporary files and the filter's scratch folders are removed at any depth, and nothing that belongs to others.
    for name in (
        "a/.b.json.12.tmp",
        ".filter-x1_y/columns/c",
        "filter/.dropped-abc/0",
        "filter/kept.jsonl",
        ".own-1/d",
        "export/.merged.12.tmp/model.safetensors",
        ".ranks-x/rank-0.75",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    remove_left_over(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "filter/kept.jsonl",
        ".own-1/d",
    }
    assert not (tmp_path / ".filter-x1_y").exists() and not (tmp_path / "filter" / ".dropped-abc").exists()


KILLED = """
import os, sys
from pathlib import Path
from forgetfilter.files import atomic_folder
with atomic_folder(Path(sys.argv[1])) as folder:
    folder.mkdir()
    (folder / "half").write_text("x")
    print(os.getpid(), flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_folder_is_whole_or_absent_and_what_was_killed_is_removed(tmp_path: Path) -> None:
    # The next one that is made in this place removes what a killed process left there, but not the folder of a process
    # that is alive, nor that of another place.
    target = tmp_path / "a[1]"
    subprocess.run([sys.executable, "-c", KILLED, str(target)], capture_output=True)
    (left,) = tmp_path.iterdir()
    assert (left / "half").exists() and not target.exists()
    others = [
        tmp_path / f".a[1].{os.getppid()}.tmp",
        tmp_path / left.name.replace("a[1]", "a1"),
        tmp_path / ".a[1].tmp",
    ]
    for other in others:
        other.mkdir()
    with pytest.raises(ZeroDivisionError), atomic_folder(target) as folder:
        folder.mkdir()
        raise ZeroDivisionError
    assert sorted(tmp_path.iterdir()) == sorted(others)
    for content in ("first", "second"):
        with atomic_folder(target) as folder:
            folder.mkdir()
            (folder / content).write_text(content)
        assert [path.name for path in target.iterdir()] == [content]
    assert sorted(tmp_path.iterdir()) == sorted([*others, target])


def test_equal_values_give_equal_bytes(tmp_path: Path) -> None:
    # The order of keys does not matter, to the file or to the hash.
    write_json(tmp_path / "a", {"x": 1, "y": "ä"})
    write_json(tmp_path / "b", {"y": "ä", "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sha256_value({"x": 1, "y": 2}) == sha256_value({"y": 2, "x": 1})
    # printf '{"x": 1}' | sha256sum
    assert sha256_value({"x": 1}) == "613fe5aa65343dbb1b9abe6abac6773f5c91bd60d3f2ffb7e2eae69e1db8b227"


def test_nan_is_no_json(tmp_path: Path) -> None:
    # A NaN would be read by no other program.
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a", float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    # This covers a missing file, a broken one with its line, and a file where a folder should be.
    (tmp_path / "broken.json").write_text('{\n"a": }')
    with pytest.raises(UserError, match=r"none is missing"):
        read_json(tmp_path / "none")
    with pytest.raises(UserError, match=r"none is missing"):
        sha256_file(tmp_path / "none")
    with pytest.raises(UserError, match=r"broken.json line 2: not valid JSON"):
        read_json(tmp_path / "broken.json")
    with pytest.raises(UserError, match="cannot be written"):
        write_json(tmp_path / "broken.json" / "x", 1)
