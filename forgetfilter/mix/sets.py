"""The sets of a run as records: what is trusted first, then the noisy set without the rows that are trusted.

A noisy row that is also in the safe set, the probes or the control set is left out of the noisy set and counted. It
needs no filter, since somebody has called it good. So the probes stay held out, the safe set stays apart from what is
measured, and a stranger who plants such a row in the noisy data cannot stop the run. Trusted sets that share rows are
a mistake of their owner: they are refused, and the error names both.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forgetfilter.data.records import Learn, Message, Record, content_id, make_records, write_records
from forgetfilter.errors import UserError, printable

Example = tuple[str, list[Message], str, str | None]  # where, messages, source, label
UNLABELLED = "unlabelled"
LONGEST_NAME = 200  # characters of a source that a row names itself
SHOWN = 3  # rows that a line names


@dataclass
class Trusted:
    """The ids of each trusted set, 32 bytes a row, which is the most that is kept of it; and the rows found in them."""

    ids: dict[str, set[bytes]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    """{trusted set: number of noisy rows that are in it too}."""
    shown: list[str] = field(default_factory=list)
    """The first of these rows, as an error names them."""

    def apart(self, rows: Iterable[Example], name: str) -> Iterator[Example]:
        """Yields the rows of a trusted set and remembers them. Raises UserError at the end where an earlier set has
        some."""
        own, shared = set[bytes](), defaultdict[str, list[str]](list)
        for row in rows:
            key = content_key(row)
            for other, ids in self.ids.items():
                if key in ids:
                    shared[other].append(row[0])
            own.add(key)
            yield row
        for other, found in shared.items():
            raise UserError(
                f"{len(found)} rows of the {name} set are in the {other} set too ({some(found)}): take them out of one"
            )
        self.ids[name] = own

    def others(self, rows: Iterable[Example], leave_out: Callable[[], None]) -> Iterator[Example]:
        """The noisy rows that are in no trusted set; `leave_out` is called at each of the others."""
        kept = False
        for row in rows:
            key = content_key(row)
            name = next((name for name, ids in self.ids.items() if key in ids), None)
            if name is None:
                kept = True
                yield row
                continue
            self.left_out[name] += 1
            if len(self.shown) <= SHOWN:
                self.shown.append(row[0])
            leave_out()
        if not kept and self.left_out:
            raise UserError(f"all rows of the noisy set are in trusted sets too ({some(self.shown)}): nothing is left")


def write_set(path: Path, rows: Iterable[Record]) -> dict[str, Any]:
    """Writes the records of a set; returns its counts: {"rows", "by_source": {SOURCE: {LABEL: rows}}}, and "turns", the
    rows of which several answers are learned, where there are any."""
    by_source: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    several = Counter[str]()
    write_records(path, _counted(rows, by_source, several))
    return {
        "rows": sum(sum(labels.values()) for labels in by_source.values()),
        "by_source": {source: dict(labels) for source, labels in by_source.items()},
    } | several


def records(rows: Iterable[Example], learn: Learn) -> Iterator[Record]:
    return make_records(((messages, source, label) for _, messages, source, label in rows), learn)


def of_records(given: Iterable[Record]) -> Iterator[Example]:
    for number, record in enumerate(given, 1):
        yield f"mixture row {number}", record.messages, record.source, record.label


def content_key(row: Example) -> bytes:
    """The hash that is the id of all copies of a row."""
    return bytes.fromhex(content_id(row[1]))


def own_source(row: Mapping[str, Any], where: str) -> str:
    """The source that a row names, with printable characters only; "" where it names none."""
    own = row.get("source")
    if not isinstance(own, str):
        return ""
    if len(own) > LONGEST_NAME:
        raise UserError(f"{where}: its source has {len(own)} characters; a name has at most {LONGEST_NAME}")
    return printable(own)


def some(rows: list[str]) -> str:
    """The first few rows, for a line of text."""
    return ", ".join(rows[:SHOWN]) + (", ..." if len(rows) > SHOWN else "")


def _counted(made: Iterable[Record], counts: Mapping[str, dict[str, int]], several: Counter[str]) -> Iterator[Record]:
    for record in made:
        counts[record.source][record.label or UNLABELLED] += 1
        if record.learn == "all":
            several["turns"] += 1
        yield record
