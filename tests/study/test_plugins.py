from pathlib import Path

from plugin import forgetfilter, install

DEFENCE = """
from forgetfilter.study.defences import Defence

DEFENCE = Defence("every_other", "M* on every other row", "refit", ("train-refit",))
"""


def test_a_defence_of_another_package_is_a_cell(tmp_path: Path, comparison: Path) -> None:
    # The check of the configuration knows its name, and it has a cell.
    install(tmp_path, "[forgetfilter.defences]\nevery_other = others_defence:DEFENCE\n", others_defence=DEFENCE)
    done = forgetfilter(tmp_path, "compare", str(comparison), "compare.defences=[every_other]", "--list")
    assert done.returncode == 0, done.stderr
    assert "toy-every_other-0" in done.stdout and "pending" in done.stdout
