"""Which tokens of an example are learned. What trains, scores or compares answers reads the label mask from here."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Turn = tuple[int, int]
"""The first token of an answer that is learned, and the one behind its last."""
Turns = Sequence[Turn]
"""The learned answers of an example, in their order and apart. None begins with the first token, which nothing
predicts."""
Encoded = tuple[NDArray[Any] | Sequence[int], Turns]
"""input_ids and turns."""


def after_prompt(ids: NDArray[Any] | Sequence[int], num_prompt: int) -> Encoded:
    """An example of which all is learned that follows the prompt's tokens."""
    return ids, [(num_prompt, len(ids))]


def label_places(turns: Turns) -> NDArray[np.int64]:
    """The places of the label tokens, int64 [N]. Each is predicted from the token before it."""
    return np.concatenate([np.arange(0), *(np.arange(start, end) for start, end in turns)])


def label_counts(turns: Turns) -> list[int]:
    """The number of label tokens of each answer."""
    return [end - start for start, end in turns]


def within(turns: Turns, first: int, length: int) -> list[Turn]:
    """The turns of an example that lost `first` tokens before them (got some, if negative) and has `length` now."""
    moved = [(start - first, min(end - first, length)) for start, end in turns]
    return [(start, end) for start, end in moved if start < end]
