"""What several signals need besides the two scorings."""

from .base import Stored

BASE = Stored(
    ("base_loss_sum",), "score.base", "M0's losses, which were not stored: score with score.base=true", "base"
)
CONTROL = Stored(
    ("control_loss_sum",),
    "has_control",
    "losses after a control finetuning: set data.control or mixture.control, train and score",
    "control",
)
TURNS = Stored(
    ("turn_rise_max",),
    "learns_all",
    "rows of which several answers were learned; where each row has one, loss_rise is the same",
    "turns",
)
PROBES = Stored(("probe_rise",), "has_probes", "probes: set data.probes or mixture.probes, and run again")


def tokens(column: str) -> Stored:
    """A column that forgetfilter/score/rises.py makes of the losses of single tokens."""
    lacking = "the losses of tokens, which were not stored: score with score.tokens=true"
    return Stored((column,), "score.tokens", lacking, "tokens")


def epochs(column: str) -> Stored:
    """A column that filter/table/stored_columns.py makes of the losses of the noisy training, epoch by epoch."""
    lacking = "the losses of the noisy training, which were not logged: set train.log_losses=true"
    return Stored((column,), "train.log_losses", lacking)
