"""The line of a threshold in the map of losses, from the signal's own formula."""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forgetfilter.storage.formats import Line

from .signals import Signal

# points on the axis of the loss before; between two of them the line is straight, on logarithmic axes
POINTS_A_DECADE = 16
LOWEST, HIGHEST = 1e-12, 1e6  # nats a token, the range in which the loss after is searched
SHOWN = 1e-5  # nats a token, the lowest loss before at which the line begins
HALVINGS = 64  # halvings of the 18 decades between them; more would not move a float64

Array = NDArray[np.float64]


def losses_after(signal: Signal, threshold: float, before: Array) -> Array | None:
    """[n] the mean losses after at which the score equals the threshold, of mean losses before, in nats a token.

    NaN where no loss after gives the threshold; None for a signal that is no function of the two losses. The point is
    found by bisection, since the score never falls with the loss after.

    Example: loss_rise, threshold 0.3, 0.5 before: 0.8 after.
    """
    if not signal.of_losses:
        return None
    low, high = np.full(len(before), math.log10(LOWEST)), np.full(len(before), math.log10(HIGHEST))
    possible = (_score(signal, before, low) < threshold) & (_score(signal, before, high) >= threshold)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = _score(signal, before, middle) >= threshold
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.where(possible, 10**high, np.nan)


def threshold_line(signal: Signal, threshold: float | None, rows: pl.DataFrame) -> Line | None:
    """{"before", "after"} of points of the line over the losses of some rows; None where there is none.

    rows: num_tokens, before_loss_sum and after_loss_sum.
    """
    if threshold is None:
        return None
    means = {state: pl.col(f"{state}_loss_sum") / pl.col("num_tokens") for state in ("before", "after")}
    losses = rows.filter(pl.col("num_tokens") > 0).select(**means).to_numpy()
    if not len(losses):
        return None
    low, high = (float(loss) for loss in np.clip([losses.min() / 2, losses.max() * 2], SHOWN, HIGHEST))
    number = math.ceil(POINTS_A_DECADE * math.log10(max(high / low, 10)))
    before = np.geomspace(low, high, number)
    after = losses_after(signal, threshold, before)
    if after is None or np.isnan(after).all():
        return None
    known = ~np.isnan(after)
    return {"before": _written(before[known]), "after": _written(after[known])}


def _score(signal: Signal, before: Array, log_after: Array) -> Array:
    rows = pl.DataFrame({"num_tokens": 1, "before_loss_sum": before, "after_loss_sum": 10**log_after})
    return signal.score(rows).to_numpy()


def _written(values: Array) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
