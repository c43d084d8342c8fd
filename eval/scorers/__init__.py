"""Scorers of toxicity, one a file; any text classification model of transformers is one too."""

import functools

from forgetfilter.config import registry

from .base import KEY, Scorer, ScorerKind

__all__ = ["Scorer", "ScorerKind", "find_scorer", "open_scorer"]


@functools.cache
def open_scorer(name: str, labels: tuple[str, ...] = ()) -> Scorer:
    """A scorer, or a model by folder or hub id, made once; UserError for one that cannot be had."""
    if "/" in name:
        from .text_classification import text_classification  # torch, which the check of a name does without

        return text_classification(name, labels)
    return _kind(name).open()


def find_scorer(name: str) -> None:
    """UserError for a scorer that cannot be had; the folder of a model is found elsewhere, and not here."""
    if "/" not in name:
        _kind(name).find()


def _kind(name: str) -> ScorerKind:
    kind = registry.SCORERS.get(name, KEY)
    assert isinstance(kind, ScorerKind)
    return kind
