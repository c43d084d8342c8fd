import json
import os
import shutil
from pathlib import Path

import pytest

from forgetfilter.errors import UserError
from forgetfilter.files import sha256_file
from forgetfilter.storage import sums


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A stage that made two files, one in a folder, and a third that is another's."""
    run = tmp_path / "run"
    (run / "train" / "logs").mkdir(parents=True)
    (run / "other").mkdir()
    for name in ("train/model", "train/logs/0", "other/x"):
        (run / name).write_text(f"content of {name}")
    sums.record(run, "train", ["train", "other/missing"], ["other"])
    return run


def flip(path: Path) -> None:
    """One bit, with the times and the size put back."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_a_stage_left_is_whole(run: Path) -> None:
    # This is shown by a look at the files and by reading all of them; files of other stages do not count.
    (run / "other" / "x").write_text("changed")
    (run / "train" / "later").write_text("new")
    assert sums.damaged(run, "train") == sums.damaged(run, "train", thoroughly=True) == []
    assert sums.recorded(run) == ["train"] and sums.verify(run) == ["2 files of 1 stages are as they were made"]


def test_a_bit_a_cut_and_a_loss_are_noticed(run: Path) -> None:
    # Each is reported with the file's name, and restored file times hide nothing.
    flip(run / "train" / "model")
    assert sums.damaged(run, "train") == ["train/model"]
    (run / "train" / "logs" / "0").unlink()
    assert sums.damaged(run, "train") == ["train/logs/0", "train/model"]


def test_what_was_cleared_away_is_no_damage(run: Path) -> None:
    # All files of a stage are gone, as when somebody deletes a model that is not needed any more.
    shutil.rmtree(run / "train")
    assert sums.damaged(run, "train") == []


def test_a_copied_run_is_read_once(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its files have other times and inode numbers; after one look these are known.
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert sums.damaged(copy, "train") == []
    monkeypatch.setattr(sums, "sha256_file", lambda path: "read again")
    assert sums.damaged(copy, "train") == []
    assert sums.damaged(copy, "train", thoroughly=True) == ["train/logs/0", "train/model"]


def test_what_was_checked_is_told_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # It names files, stages and what is wrong; a file that is gone is an error here too.
    whole = {"files": 2, "stages": ["train"], "unchecked": [], "wrong": []}
    assert sums.verify(run, as_json=True) == [json.dumps(whole)]
    (run / "train" / "model").unlink()
    with pytest.raises(UserError, match="1 files are not"):
        sums.verify(run, as_json=True)
    gone = {"file": "train/model", "stage": "train", "gone": True}
    assert json.loads(capsys.readouterr().out) == whole | {"wrong": [gone]}


def test_a_record_that_is_cut_is_damage_itself(run: Path) -> None:
    # Nothing vouches for the files any more, and one of them may have been exchanged with the record. A run from before
    # there were records has none, and stays as it is.
    path = run / sums.FOLDER / "train.json"
    whole = path.read_text()
    for text in (whole[:-10], json.dumps({"train/model": "abc"}), "[1]", ""):
        path.write_text(text)
        assert sums.damaged(run, "train") == ["sums/train.json"]
        with pytest.raises(UserError, match="1 files are not as they were made"):
            sums.verify(run)
    path.write_text("{}")
    assert sums.damaged(run, "train") == [] and sums.damaged(run, "never") == []


def test_the_sum_of_a_file_is_the_noted_one_as_long_as_it_is_untouched(tmp_path: Path) -> None:
    # It is read only where its size, times or place changed, or where no stage noted it.
    file = tmp_path / "data" / "noisy.jsonl"
    file.parent.mkdir()
    file.write_text("a row")
    assert sums.sha256(tmp_path, "data/noisy.jsonl") == sha256_file(file)
    sums.record(tmp_path, "mix", ["data"])
    noted = json.loads((tmp_path / "sums" / "mix.json").read_text())
    noted["data/noisy.jsonl"][0] = "the noted one"
    (tmp_path / "sums" / "mix.json").write_text(json.dumps(noted))
    assert sums.sha256(tmp_path, "data/noisy.jsonl") == "the noted one"
    file.write_text("another row")
    assert sums.sha256(tmp_path, "data/noisy.jsonl") == sha256_file(file)
