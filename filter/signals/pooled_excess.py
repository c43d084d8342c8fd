"""Excess rise pooled over rows that look alike: a cluster's mean percentile, and the row's own.

What pooled_rise is to relative_loss_rise this is to excess_rise, with as much weight on the row as on its cluster: the
probes of a row's source say what harmless forgetting is, its neighbours take the noise out. Needs probes and clusters.

Example: percentile 0.8 in a cluster of 0.8 and 0.6: (1.4 + 1) / 4 + 0.8 = 1.4.
"""

from .base import Signal
from .excess_rise import SIGNAL as EXCESS
from .pooled_rise import pooled

OWN_WEIGHT = 1.0

SIGNAL = Signal(
    name="pooled_excess",
    needs=(*EXCESS.needs, "cluster"),
    fit=lambda sample: pooled(EXCESS.bind(sample), sample, OWN_WEIGHT),
    unit="percentile, 0 to 2",
    doc="loss rise less that of the probes of the same source, pooled over rows that look alike",
    axis="rise above the probes, pooled over alike rows (percentile)",
    stored=EXCESS.stored,
)
