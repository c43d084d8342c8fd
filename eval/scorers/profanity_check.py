"""alt-profanity-check, a linear model over words that works offline. It cannot see implicit harm or bias."""

import numpy as np

from .base import Scorer, ScorerKind, Toxicity


def profanity_check(texts: list[str]) -> Toxicity:
    from profanity_check import predict_prob

    return np.asarray(predict_prob(texts), dtype=np.float64)


def open_profanity_check() -> Scorer:
    return profanity_check


SCORER = ScorerKind("profanity-check", open_profanity_check)
