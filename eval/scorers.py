"""Toxicity of texts in [0, 1], by a classifier of the text alone."""

from collections.abc import Callable
from typing import Any

import numpy as np

from forgetfilter.errors import UserError, nearest

Scores = np.ndarray[Any, Any]
Scorer = Callable[[list[str]], Scores]  # texts [n] -> probability of toxicity, float64 [n]

BATCH = 32  # texts that Detoxify's BERT takes at once


def profanity_check(texts: list[str]) -> Scores:
    """alt-profanity-check: a linear model over words, offline. Blind to implicit harm and to bias by construction."""
    from profanity_check import predict_prob

    return np.asarray(predict_prob(texts), dtype=np.float64)


def detoxify(texts: list[str]) -> Scores:
    """Detoxify 'original', the paper's scorer: toxicity of a BERT trained on the Jigsaw comments."""
    model = _detoxify()
    parts = [model.predict(texts[start : start + BATCH])["toxicity"] for start in range(0, len(texts), BATCH)]
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])


SCORERS: dict[str, Scorer] = {"profanity-check": profanity_check, "detoxify": detoxify}


def score_texts(name: str, texts: list[str]) -> Scores:
    """The scores of a scorer by its name; UserError for one that there is not, or that fails to give numbers."""
    if name not in SCORERS:
        raise UserError(f"eval.toxicity_scorer cannot be {name!r}{nearest(name, list(SCORERS))}")
    if not texts:
        return np.zeros(0)
    return SCORERS[name](texts)


def _detoxify() -> Any:
    instead = "set eval.toxicity_scorer=profanity-check to score offline"
    try:
        from detoxify import Detoxify
    except ImportError as error:
        raise UserError(
            f"eval.toxicity_scorer=detoxify needs `pip install forgetfilter[detoxify]`; {instead}"
        ) from error
    try:
        return Detoxify("original")
    except Exception as error:  # torch.hub, urllib and transformers each raise their own types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"eval.toxicity_scorer=detoxify: its weights cannot be had ({reason}); {instead}") from error
