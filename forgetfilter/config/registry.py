"""Signals and rules: what a configuration names, and what a file of its own says everything about.

Each file of a stage's folder that defines the constant (SIGNAL, RULE) is a member. Other packages add theirs through
the entry points of a group; see CONTRIBUTING.md. The core must not import a stage, so the folder is named in a string.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Protocol, TypeVar

from forgetfilter.errors import UserError, nearest


class Named(Protocol):
    """What every member has."""

    @property
    def name(self) -> str:
        """As the configuration calls it."""


class StoredColumns(Protocol):
    """Columns that an earlier stage stores only where it is asked to."""

    @property
    def setting(self) -> str:
        """The attribute of the configuration that asks for them, such as `score.tokens` or `has_probes`."""


class Signal(Named, Protocol):
    """What the checks of a configuration ask of a signal."""

    @property
    def stored(self) -> tuple[StoredColumns, ...]:
        """What it needs beside the two scorings."""


class Rule(Named, Protocol):
    """What the checks of a configuration ask of a rule."""

    @property
    def settings(self) -> tuple[str, ...]:
        """The keys of the section `filter` that it reads."""

    @property
    def replaces(self) -> Mapping[str, str]:
        """A setting: the one whose place it takes where it is not null."""

    @property
    def fewest_probes(self) -> int:
        """Probes without which it cannot decide; 0 where it needs none."""


Member = TypeVar("Member", bound=Named)


@dataclass(frozen=True)
class Registry(Generic[Member]):
    """All members of one kind, found when they are first asked for."""

    kind: str
    """The name of their class in the folder's package; in capitals the name of the constant in a file."""
    package: str
    """The folder, as a dotted name."""
    group: str
    """The entry points by which other packages add members."""

    @cached_property
    def members(self) -> dict[str, Member]:
        """By name. UserError in one line for an installed package that gives none, or one of a name that is taken."""
        found = {member.name: member for member in self._own()}
        for point in entry_points(group=self.group):
            member = self._load(point)
            if member.name in found:
                raise UserError(f"{_said(point)} is called {member.name}, and another one is too: uninstall it")
            found[member.name] = member
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Of all members, in the order of the alphabet."""
        return tuple(sorted(self.members))

    def get(self, name: str, key: str) -> Member:
        """The member of that name; UserError by the key with the nearest name where there is none."""
        if name not in self.members:
            raise UserError(f"{key} cannot be {name!r}{nearest(name, self.names)}")
        return self.members[name]

    def packages(self, names: set[str]) -> dict[str, str]:
        """{NAME: package and version} of those of the names that another package added."""
        added = {self._load(point).name: point.dist for point in entry_points(group=self.group)}
        return {name: f"{dist.name} {dist.version}" for name, dist in added.items() if dist and name in names}

    def _own(self) -> Iterator[Member]:
        package = importlib.import_module(self.package)
        for file in pkgutil.iter_modules(package.__path__, f"{self.package}."):
            member: Member | None = getattr(importlib.import_module(file.name), self.kind.upper(), None)
            if member is not None:
                yield member

    def _load(self, point: EntryPoint) -> Member:
        kind: type[Any] = getattr(importlib.import_module(self.package), self.kind)
        try:
            member: Member = point.load()
        except Exception as error:  # whatever a module of someone else's raises while it is imported
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"{_said(point)} cannot be loaded ({reason}): repair or uninstall it") from error
        if not isinstance(member, kind):
            raise UserError(f"{_said(point)} is no {self.package}.{self.kind}: repair or uninstall it")
        return member


def _said(point: EntryPoint) -> str:
    package = f" of the package {point.dist.name}" if point.dist else ""
    return f"the entry point {point.name} ({point.value}) in {point.group}{package}"


SIGNALS: Registry[Signal] = Registry("Signal", "forgetfilter.filter.signals", "forgetfilter.signals")
RULES: Registry[Rule] = Registry("Rule", "forgetfilter.filter.rules", "forgetfilter.rules")
