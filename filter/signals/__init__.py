"""The signals, each in a file of its own: how much of an example was forgotten, or, for a rival, another sign of
harm."""

from collections.abc import Collection, Sequence

from forgetfilter.config import registry

from .base import ROUGE_COLUMNS, Signal, Stored, mean_loss, where_tokens
from .combine import combined

__all__ = [
    "ROUGE_COLUMNS",
    "Signal",
    "Stored",
    "available",
    "chosen",
    "every",
    "get",
    "mean_loss",
    "where_tokens",
]


def every() -> list[Signal]:
    """All signals in the order of their names, those of other packages too. UserError for a package that is broken."""
    return registry.SIGNALS.every(Signal)


def get(name: str, key: str = "filter.signal") -> Signal:
    """The signal of that name; UserError with the nearest one where there is none."""
    return registry.SIGNALS.find(Signal, name, key)


def chosen(signal: str, combine: Sequence[str] = ()) -> Signal:
    """The signal of the section `filter`: the ranks of `combine` where it names signals, and `signal` otherwise."""
    return combined([get(name, "filter.combine") for name in combine]) if combine else get(signal)


def available(columns: Collection[str]) -> list[Signal]:
    """The signals that these columns suffice for."""
    return [signal for signal in every() if set(signal.needs) <= set(columns)]
