"""Loss rise less that of trusted examples of the same source: (l2 - l1) - mean of (l2 - l1) over the source's probes.

Any further finetuning makes a model forget what the safe set lacks, so the losses of harmless long answers and tasks
rise too. The probes (trusted examples that were trained along, filter/probes.py) show how much of a source is forgotten
without being unsafe, and this is taken out. A source's mean is mixed with seven rows of that of all probes, so that few
probes say little, and a source without any is compared with all. Needs good probes of each source; where a single
source holds everything it ranks as loss_rise does. The idea is ours, not the paper's; the sources are what the user
called them, never labels.

Example: rise 0.5, probes of the source 0.1 and 0.3, of all 0.2: 0.5 - (0.1 + 0.3 + 7 * 0.2) / 9 = 0.3.
"""

import polars as pl

from .base import LOSS_COLUMNS, Signal, mean_loss
from .stored import PROBES

SIGNAL = Signal(
    name="excess_rise",
    needs=(*LOSS_COLUMNS, "probe_rise"),
    expression=mean_loss("after") - mean_loss("before") - pl.col("probe_rise"),
    unit="nats a token",
    doc="loss rise less that of the probes of the same source",
    axis="rise of the loss above that of the probes (nats a token)",
    stored=(PROBES,),
)
