"""The studies that the command line offers. Each runs one pipeline many times and gathers the results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType

from forgetfilter.config.schema import Config
from forgetfilter.study import compare, compare_page, compared, scale, scale_page
from forgetfilter.study.members import DONE, Member


@dataclass(frozen=True)
class Study:
    """A kind of study."""

    title: str
    members: Callable[[Config], Sequence[Member]]
    gather: Callable[[Config], dict[str, Any]]
    """Writes the results of the members that are done; returns {"members", "done", ...}."""
    table: Callable[[dict[str, Any]], RenderableType]
    waves: Callable[[Sequence[Member]], list[str]]
    """The numbers of the pending members, as a job array takes them, in waves that run one after the other. A member of
    a later wave takes over what one of an earlier wave has made."""


def at_once(study: Sequence[Member]) -> list[str]:
    """All pending members in one wave, which is empty if none is pending."""
    return [",".join(str(one.number) for one in study if one.status() != DONE)]


STUDIES = {
    "scale": Study("Scaling study", scale.members, scale.gather, scale_page.table_of, at_once),
    "compare": Study("Comparison of defences", compare.members, compared.gather, compare_page.table_of, compare.waves),
}
"""The studies by their commands."""
