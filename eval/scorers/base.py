"""What a scorer is: a classifier that gives each text by itself a toxicity in [0, 1]."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Toxicity = np.ndarray[Any, Any]
Scorer = Callable[[list[str]], Toxicity]  # texts [n] -> probability of toxicity, float64 [n]

KEY = "eval.toxicity_scorer"


@dataclass(frozen=True)
class ScorerKind:
    """A kind of scorer that `eval.toxicity_scorer` can choose."""

    name: str
    """The name by which `eval.toxicity_scorer` chooses it."""
    open: Callable[[], Scorer]
    """Loads the scorer. UserError where it is not available."""
    find: Callable[[], str | None] = lambda: None
    """Checks before anything is trained that the scorer is available, and keeps nothing loaded. The result is the hash
    of the weights, which may be exchanged; None where they cannot change. UserError as `open`."""
