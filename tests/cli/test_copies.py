from pathlib import Path

import pytest
from toy_study import call


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_examples_are_listed_with_their_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    # Each config that comes along is listed in a line with its purpose.
    assert call("example") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("quickstart ") and "the whole pipeline" in line for line in lines)
    assert any(line.startswith("paper/bias ") for line in lines)


def test_a_copy_overwrites_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    # A second copy is refused with the first file that is in its way.
    assert call("example", "paper/bias") == 0 and Path("configs/paper/bias.yaml").is_file()
    assert call("slurm") == 0 and Path("slurm/submit.sh").is_file()
    capsys.readouterr()
    assert call("slurm") == 2 and "slurm/README.md is there already" in capsys.readouterr().err


def test_an_unknown_example_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    # One line gives the nearest name, and nothing is copied.
    assert call("example", "quikstart") == 2
    assert "did you mean 'quickstart'?" in capsys.readouterr().err and not Path("configs").exists()
