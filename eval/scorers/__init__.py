"""The scorers of toxicity, one in each file. Any text classification model of transformers is a scorer too."""

import functools

from forgetfilter.config import registry

from .base import KEY, Scorer, ScorerKind

__all__ = ["Scorer", "ScorerKind", "find_scorer", "open_scorer"]


@functools.cache
def open_scorer(name: str, labels: tuple[str, ...] = ()) -> Scorer:
    """A scorer by its name, or a model by folder or hub id, made once; UserError where it is not available."""
    if "/" in name:
        from .text_classification import text_classification  # loads torch, which checking a name does not need

        return text_classification(name, labels)
    return _kind(name).open()


def find_scorer(name: str) -> str | None:
    """The hash of a scorer's weights, as `ScorerKind.find` gives it; UserError where the scorer is not available.

    Models by folder or hub id are checked elsewhere.
    """
    return None if "/" in name else _kind(name).find()


def _kind(name: str) -> ScorerKind:
    return registry.SCORERS.find(ScorerKind, name, KEY)
