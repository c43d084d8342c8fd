"""Toxicity of texts in [0, 1], by a classifier of the text alone."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from forgetfilter.errors import UserError, nearest
from forgetfilter.models.classifiers import Classifier
from forgetfilter.models.loading import hub_or_folder
from forgetfilter.process.distributed import world

Scores = np.ndarray[Any, Any]
Scorer = Callable[[list[str]], Scores]  # texts [n] -> probability of toxicity, float64 [n]

KEY, LABELS_KEY = "eval.toxicity_scorer", "eval.toxicity_labels"
BATCH = 32  # texts that Detoxify's BERT takes at once


def profanity_check(texts: list[str]) -> Scores:
    """alt-profanity-check: a linear model over words, offline. Blind to implicit harm and to bias by construction."""
    from profanity_check import predict_prob

    return np.asarray(predict_prob(texts), dtype=np.float64)


def detoxify(variant: str) -> Scorer:
    """Detoxify (Hanu and Unitary 2020): toxicity of a BERT trained on the Jigsaw comments; original is the paper's."""
    instead = "set eval.toxicity_scorer=profanity-check to score offline"
    try:
        from detoxify import Detoxify
    except ImportError as error:
        raise UserError(f"{KEY}: detoxify needs `pip install forgetfilter[detoxify]`; {instead}") from error
    try:
        model = Detoxify(variant, device=world().device)
    except Exception as error:  # torch.hub, urllib and transformers each raise their own types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{KEY}: the weights of detoxify cannot be had ({reason}); {instead}") from error

    def score(texts: list[str]) -> Scores:
        parts = [model.predict(texts[start : start + BATCH])["toxicity"] for start in range(0, len(texts), BATCH)]
        return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])

    return score


def text_classification(name: str, labels: tuple[str, ...]) -> Scorer:
    """Any classifier of transformers, by folder or hub id."""
    classifier = Classifier(hub_or_folder(name, None, KEY), [*labels], world().device, KEY, LABELS_KEY)
    return lambda texts: np.asarray(classifier.probabilities(texts))


SCORERS: dict[str, Callable[[], Scorer]] = {
    "profanity-check": lambda: profanity_check,
    "detoxify": lambda: detoxify("original"),
    "detoxify-unbiased": lambda: detoxify("unbiased"),
    "detoxify-multilingual": lambda: detoxify("multilingual"),
}


@functools.cache
def open_scorer(name: str, labels: tuple[str, ...] = ()) -> Scorer:
    """A scorer, or a model by folder or hub id, made once; UserError for one that cannot be had."""
    if "/" in name:
        return text_classification(name, labels)
    if name not in SCORERS:
        raise UserError(f"{KEY} cannot be {name!r}{nearest(name, list(SCORERS))}")
    return SCORERS[name]()
