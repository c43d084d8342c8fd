"""forgetfilter example and forgetfilter slurm: what comes with the installation, copied to where the user works."""

import argparse
import shutil
from collections.abc import Iterable
from pathlib import Path

from forgetfilter.cli.parser import Commands
from forgetfilter.cli.shipped import shipped
from forgetfilter.errors import UserError, nearest
from forgetfilter.process.progress import console


def add(commands: Commands) -> None:
    """The commands' places in the command line."""
    words = "copy a config that comes along to configs/, with its data; without NAME: list them"
    command = commands.add_parser("example", help=words, description=words)
    command.add_argument("name", nargs="?", metavar="NAME", help="such as quickstart")
    command.set_defaults(work=example)
    words = "copy the Slurm scripts to slurm/"
    commands.add_parser("slurm", help=words, description=words).set_defaults(work=slurm)


def example(options: argparse.Namespace) -> None:
    """Copies configs/NAME.yaml and the folder configs/NAME; prints the config's path, or what each one is for."""
    folder = shipped("configs")
    names = [str(path.relative_to(folder).with_suffix("")) for path in sorted(folder.rglob("*.yaml"))]
    if not options.name:
        print(*[f"{name:<24}{_purpose(folder / f'{name}.yaml')}" for name in names], sep="\n")
        return
    if options.name not in names:
        raise UserError(f"NAME cannot be {options.name!r}{nearest(options.name, names)}")
    config = Path(f"{options.name}.yaml")
    data = (path for path in (folder / options.name).rglob("*") if path.suffix in (".jsonl", ".jinja"))
    _copy(folder, [config, *(path.relative_to(folder) for path in data)], Path("configs"))
    console.print(f"next: forgetfilter run {Path('configs') / config}")
    print(Path("configs") / config)


def slurm(options: argparse.Namespace) -> None:
    """Copies the scripts; prints their folder."""
    folder = shipped("slurm")
    _copy(folder, [Path(path.name) for path in folder.iterdir() if path.suffix in (".sh", ".md")], Path("slurm"))
    console.print("open slurm/README.md")
    print("slurm")


def _copy(source: Path, names: Iterable[Path], target: Path) -> None:
    """UserError before anything is copied where a file is there already."""
    names = sorted(names)
    if there := [target / name for name in names if (target / name).exists()]:
        raise UserError(f"{there[0]} is there already, and is not overwritten: move it away, or work elsewhere")
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
        if name.suffix == ".sh":  # not every installer keeps the mode of a file
            (target / name).chmod(0o755)


def _purpose(config: Path) -> str:
    with open(config, encoding="utf-8") as handle:
        return handle.readline().removeprefix("# What for: ").strip()
