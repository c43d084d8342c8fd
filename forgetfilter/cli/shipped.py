"""The files that come with the installation: configs with their made-up data, and the Slurm scripts."""

from pathlib import Path

import forgetfilter


def shipped(name: str) -> Path:
    """A file or folder by its path in the repository: a wheel holds it in the package, a checkout at its top."""
    package = Path(forgetfilter.__file__).parent
    return next(path for path in (package / name, package.parent / name) if path.exists())
