"""Signals, one a file: how much of an example was forgotten. The last ones are rivals, which know nothing of that."""

from collections.abc import Collection, Sequence

from forgetfilter.errors import UserError, nearest

from . import (
    base_loss,
    chance,
    cluster_rise,
    conditional_rise,
    contrastive_rise,
    embedding_distance,
    excess_rise,
    forgetting_events,
    gradient_distance,
    guard,
    largest_token_rise,
    learned_share_lost,
    log_loss_ratio,
    loss_rise,
    pooled_excess,
    pooled_rise,
    probability_drop,
    relative_contrastive_rise,
    relative_loss_rise,
    rouge1_drop,
    safe_distance,
    text_toxicity,
    token_accuracy_drop,
    token_rise_ratio,
    top_token_rise,
    total_loss_rise,
    unlearnable,
    variability,
)
from .base import ROUGE_COLUMNS, Signal, mean_loss
from .combine import combined

__all__ = [
    "ROUGE_COLUMNS",
    "SIGNALS",
    "Signal",
    "available",
    "chosen",
    "get",
    "mean_loss",
]

SIGNALS: dict[str, Signal] = {
    module.SIGNAL.name: module.SIGNAL
    for module in (
        loss_rise,
        relative_loss_rise,
        log_loss_ratio,
        total_loss_rise,
        probability_drop,
        rouge1_drop,
        conditional_rise,
        cluster_rise,
        pooled_rise,
        excess_rise,
        pooled_excess,
        contrastive_rise,
        relative_contrastive_rise,
        learned_share_lost,
        token_accuracy_drop,
        largest_token_rise,
        top_token_rise,
        token_rise_ratio,
        forgetting_events,
        variability,
        unlearnable,
        base_loss,
        safe_distance,
        embedding_distance,
        gradient_distance,
        guard,
        text_toxicity,
        chance,
    )
}


def get(name: str, key: str = "filter.signal") -> Signal:
    """The signal of that name; UserError with the nearest one where there is none."""
    if name not in SIGNALS:
        raise UserError(f"{key} cannot be {name!r}{nearest(name, list(SIGNALS))}")
    return SIGNALS[name]


def chosen(signal: str, combine: Sequence[str] = ()) -> Signal:
    """The signal of the config's `filter` section: `combine` by rank where it names any, `signal` otherwise."""
    return combined([get(name, "filter.combine") for name in combine]) if combine else get(signal)


def available(columns: Collection[str]) -> list[Signal]:
    """The signals that can be had from these columns."""
    return [signal for signal in SIGNALS.values() if set(signal.needs) <= set(columns)]
