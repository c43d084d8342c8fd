"""What a scorer is: the toxicity of texts in [0, 1], by a classifier of the text alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Toxicity = np.ndarray[Any, Any]
Scorer = Callable[[list[str]], Toxicity]  # texts [n] -> probability of toxicity, float64 [n]

KEY = "eval.toxicity_scorer"


@dataclass(frozen=True)
class ScorerKind:
    """What `eval.toxicity_scorer` chooses."""

    name: str
    """As `eval.toxicity_scorer` calls it."""
    open: Callable[[], Scorer]
    """Loads it. UserError where it cannot be had."""
    find: Callable[[], object] = lambda: None
    """Proves before anything is trained that it can be had, and keeps nothing of it. UserError as of `open`."""
