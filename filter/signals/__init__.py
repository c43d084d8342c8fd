"""Signals, one a file: how much of an example was forgotten."""

from collections.abc import Collection

from forgetfilter.errors import UserError, nearest

from . import log_loss_ratio, loss_rise, probability_drop, relative_loss_rise, rouge1_drop, total_loss_rise
from .base import HIGHER_IS_MORE_FORGOTTEN, ROUGE_COLUMNS, Signal, mean_loss

__all__ = ["HIGHER_IS_MORE_FORGOTTEN", "ROUGE_COLUMNS", "SIGNALS", "Signal", "available", "get", "mean_loss"]

SIGNALS: dict[str, Signal] = {
    module.SIGNAL.name: module.SIGNAL
    for module in (loss_rise, relative_loss_rise, log_loss_ratio, total_loss_rise, probability_drop, rouge1_drop)
}


def get(name: str) -> Signal:
    """The signal of that name; UserError with the nearest one where there is none."""
    if name not in SIGNALS:
        raise UserError(f"filter.signal cannot be {name!r}{nearest(name, list(SIGNALS))}")
    return SIGNALS[name]


def available(columns: Collection[str]) -> list[Signal]:
    """The signals that can be had from these columns."""
    return [signal for signal in SIGNALS.values() if set(signal.needs) <= set(columns)]
