"""A package as somebody else would install it: modules and a dist-info with entry points, in a folder of its own."""

import subprocess
from pathlib import Path

from forked import command


def install(folder: Path, entry_points: str, **modules: str) -> None:
    """Writes modules and the metadata of a package `others` 1.2 with these entry points."""
    about = folder / "others-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(entry_points)
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code)


def forgetfilter(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line where the package of that folder is installed."""
    return command(*arguments, path=[folder])
