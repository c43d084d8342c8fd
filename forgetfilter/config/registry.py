"""Signals, rules, suites, judges, scorers, guards, defences, attacks: what a configuration names, one in each file.

Each file of a folder that defines the constant (SIGNAL, RULE, ...) is a member. Other packages add theirs through
the entry points of a group; see CONTRIBUTING.md. The core must not import a stage, so a string
names the folder.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.abc import InspectLoader
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Protocol, TypeVar

from forgetfilter.config.schema import JudgeConfig
from forgetfilter.errors import UserError, check_choice, reason


class Named(Protocol):
    """The attribute that every member has."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""


class StoredColumns(Protocol):
    """Columns that an earlier stage stores only where it is asked to."""

    @property
    def setting(self) -> str:
        """The attribute of the configuration that asks for them, such as `score.tokens` or `has_probes`."""


class Signal(Named, Protocol):
    """What the checks of a configuration ask of a signal."""

    @property
    def stored(self) -> tuple[StoredColumns, ...]:
        """What it needs besides the two scorings."""


class Rule(Named, Protocol):
    """What the checks of a configuration ask of a rule."""

    @property
    def settings(self) -> tuple[str, ...]:
        """The keys of the section `filter` that it reads."""

    @property
    def replaces(self) -> Mapping[str, str]:
        """{setting: another setting whose place it takes where it is not null}."""

    @property
    def needs(self) -> Mapping[str, str]:
        """{setting that must not be empty: what the user is asked to put into it}."""

    @property
    def fewest_probes(self) -> int:
        """The number of probes that it needs to decide; 0 where it needs none."""


class Suite(Named, Protocol):
    """What the stages before an evaluation ask of a suite."""

    @property
    def prompts(self) -> str:
        """The suite whose prompts it asks; empty for its own."""

    @property
    def prompt(self) -> Callable[[dict[str, Any], str], dict[str, Any]]:
        """Makes a prompt of a row of eval.data; the second argument names file and row."""


class Judge(Named, Protocol):
    """What the checks of a configuration ask of a judge."""

    @property
    def check(self) -> Callable[[JudgeConfig], None]:
        """UserError for settings with which it cannot work."""


Member = TypeVar("Member", bound=Named)
Whole = TypeVar("Whole")


@dataclass(frozen=True)
class Registry(Generic[Member]):
    """All members of one kind, found when they are first asked for."""

    kind: str
    """The name of their class in the folder's package."""
    constant: str
    """What a file of the folder calls its member."""
    package: str
    """The folder, as a dotted name."""
    group: str
    """The entry points by which other packages add members."""

    @cached_property
    def members(self) -> dict[str, Member]:
        """The members by name. Raises UserError for a package whose entry point is no member, or has a name that is
        taken."""
        found = {member.name: member for member in self._own()}
        for point in entry_points(group=self.group):
            member = self._load(point)
            if member.name in found:
                raise UserError(f"{_said(point)} is called {member.name}, and another one is too: uninstall it")
            found[member.name] = member
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all members in alphabetical order."""
        return tuple(sorted(self.members))

    def get(self, name: str, key: str) -> Member:
        """The member of that name. Raises UserError with the key and the nearest name where there is none."""
        check_choice(key, name, self.names)
        return self.members[name]

    def find(self, kind: type[Whole], name: str, key: str) -> Whole:
        """`get`, as the class of which all members are in their own package."""
        member = self.get(name, key)
        assert isinstance(member, kind)
        return member

    def every(self, kind: type[Whole]) -> list[Whole]:
        """All members in the order of their names, those of other packages too, as their own class."""
        return [self.find(kind, name, self.constant) for name in self.names]

    def packages(self, names: set[str]) -> dict[str, str]:
        """{NAME: package and version} of the named members that come from other packages, whose code changes with
        them."""
        added = {self._load(point).name: point.dist for point in entry_points(group=self.group)}
        return {name: f"{dist.name} {dist.version}" for name, dist in added.items() if dist and name in names}

    def _own(self) -> Iterator[Member]:
        package = importlib.import_module(self.package)
        for file in pkgutil.iter_modules(package.__path__, f"{self.package}."):
            # other files may import torch, which the check of a configuration does not need
            if self._defines(file.name):
                member: Member = getattr(importlib.import_module(file.name), self.constant)
                yield member

    def _defines(self, module: str) -> bool:
        """Whether the source of a module defines the constant."""
        spec = importlib.util.find_spec(module)
        assert spec is not None and isinstance(spec.loader, InspectLoader)
        return f"\n{self.constant} = " in (spec.loader.get_source(module) or "")

    def _load(self, point: EntryPoint) -> Member:
        kind: type[Any] = getattr(importlib.import_module(self.package), self.kind)
        try:
            member: Member = point.load()
        except Exception as error:  # a foreign module may raise anything while it is imported
            raise UserError(f"{_said(point)} cannot be loaded ({reason(error)}): repair or uninstall it") from error
        if not isinstance(member, kind):
            raise UserError(f"{_said(point)} is no {self.package}.{self.kind}: repair or uninstall it")
        return member


def _said(point: EntryPoint) -> str:
    package = f" of the package {point.dist.name}" if point.dist else ""
    return f"the entry point {point.name} ({point.value}) in {point.group}{package}"


SIGNALS: Registry[Signal] = Registry("Signal", "SIGNAL", "forgetfilter.filter.signals", "forgetfilter.signals")
RULES: Registry[Rule] = Registry("Rule", "RULE", "forgetfilter.filter.rules", "forgetfilter.rules")
SUITES: Registry[Suite] = Registry("Suite", "SUITE", "forgetfilter.eval.suites", "forgetfilter.suites")
JUDGES: Registry[Judge] = Registry("JudgeKind", "JUDGE", "forgetfilter.eval.judges", "forgetfilter.judges")
SCORERS: Registry[Named] = Registry("ScorerKind", "SCORER", "forgetfilter.eval.scorers", "forgetfilter.scorers")
DEFENCES: Registry[Named] = Registry("Defence", "DEFENCE", "forgetfilter.study.defences", "forgetfilter.defences")
ATTACKS: Registry[Named] = Registry("Attack", "ATTACK", "forgetfilter.mix.attacks", "forgetfilter.attacks")
GUARDS: Registry[Named] = Registry("GuardKind", "GUARD", "forgetfilter.models.guards", "forgetfilter.guards")


def judge_names() -> tuple[str, ...]:
    """The names that `eval.judge.name` may have: those of the judges and of the guard models."""
    return tuple(sorted({*JUDGES.names, *GUARDS.names}))


def own_prompts() -> tuple[str, ...]:
    """The suites that have prompts of their own, and so can be named in `eval.data`."""
    return tuple(name for name in SUITES.names if not SUITES.members[name].prompts)
