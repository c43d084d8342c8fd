"""Counts what the rows of a source hold besides the texts that are learned, so that nothing vanishes silently."""

from collections import Counter
from dataclasses import dataclass, field

from forgetfilter.errors import printable

MOST, REST = 1_000, "fields of further names"
SHOWN = 12  # fields that a line names


@dataclass
class Told:
    """Counts of rows, filled while they are read."""

    left_out: Counter[str] = field(default_factory=Counter)
    """{field: number of rows in which it holds something that is not learned}."""
    rewritten: Counter[str] = field(default_factory=Counter)
    """{field: number of rows in which it was no text and is learned as one}."""
    claims: Counter[str] = field(default_factory=Counter)
    """{"source" or "label": number of rows that say it of themselves}."""
    remarks: list[str] = field(default_factory=list)
    """Whole sentences about the files."""

    def add(self, left_out: set[str], rewritten: set[str]) -> None:
        """Counts the fields of one row under printable names; those beyond MOST names are counted together."""
        names = {printable(name)[:80] for name in left_out}
        known = {name if name in self.left_out or len(self.left_out) < MOST else REST for name in names}
        self.left_out.update(known)
        self.rewritten.update(rewritten)

    def lines(self, key: str) -> list[str]:
        """One line on each of them, for people; none where there is nothing to say."""
        found = [f"{key}: {remark}" for remark in self.remarks]
        said = (
            ("learned as text", self.rewritten),
            ("not learned", self.left_out),
            ("taken from the rows themselves, unless claims: false is set", self.claims),
        )
        for what, counts in said:
            if counts:
                most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
                names = [f"{name} ({rows})" for name, rows in most[:SHOWN]]
                more = f" and {len(counts) - SHOWN} more fields" if len(counts) > SHOWN else ""
                found.append(printable(f"{key}: {what} (rows): {', '.join(names)}{more}"))
        return found

    def counts(self) -> dict[str, dict[str, int]]:
        """{"left_out": {FIELD: rows}, "rewritten": {FIELD: rows}, "claims": {FIELD: rows}}, without empty ones."""
        both = {"left_out": self.left_out, "rewritten": self.rewritten, "claims": self.claims}
        return {name: dict(sorted(counts.items())) for name, counts in both.items() if counts}
