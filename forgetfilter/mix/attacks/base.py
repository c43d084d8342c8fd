"""What an attack is: a change of the sets of a mixture, as somebody who plants unsafe rows would make it."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from forgetfilter.data.records import Message

Row = tuple[list[Message], str, str | None]
"""Messages, source, label (None for a probe)."""


@dataclass
class Drawn:
    """The sets of a mixture before they are shuffled. An attack may change them in place."""

    unsafe: list[Row]
    """The unsafe rows of the noisy set."""
    good: list[Row]
    """Its safe and its task rows."""
    safe: list[Row]
    """The safe set."""
    probes: list[Row]
    spare: list[Row]
    """Further unsafe rows, which are in no set: `Attack.spare` for each unsafe row."""


@dataclass(frozen=True)
class Attack:
    """One strategy of somebody who wants his unsafe rows to be learned in spite of the filter."""

    name: str
    """The name by which `mixture.attack` chooses it."""
    doc: str
    """One line on what the attacker does."""
    apply: Callable[[Drawn, random.Random], None]
    """Changes the sets."""
    spare: float = 0.0
    """How many further unsafe rows are drawn for it, as a share of those of the noisy set."""

    def further(self, unsafe: int) -> int:
        """The number of further unsafe rows where the noisy set has `unsafe` of them: at least one of a share."""
        return max(1, round(unsafe * self.spare)) if unsafe and self.spare else 0
