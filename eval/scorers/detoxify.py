"""Detoxify (Hanu and Unitary 2020), a BERT trained on the Jigsaw comments; the paper uses this scorer."""

import numpy as np

from forgetfilter.errors import UserError
from forgetfilter.models.data_only import data_only

from .base import KEY, Scorer, ScorerKind, Toxicity

BATCH = 32  # how many texts go through BERT together


def detoxify(variant: str, device: str = "") -> Scorer:
    """One of Detoxify's models, by default on this rank's device.

    UserError where Detoxify is not installed or its weights are not available.
    """
    from forgetfilter.process.distributed import world  # loads torch, which checking a name does not need

    instead = "set eval.toxicity_scorer=profanity-check to score offline"
    try:
        from detoxify import Detoxify
    except ImportError as error:
        raise UserError(f"{KEY}: detoxify needs `pip install forgetfilter[detoxify]`; {instead}") from error
    try:
        with data_only():  # Detoxify itself would load its checkpoint, a pickle, and run the code in it
            model = Detoxify(variant, device=device or world().device)
    except Exception as error:  # torch.hub, urllib and transformers each raise types of their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{KEY}: the weights of detoxify cannot be had ({reason}); {instead}") from error

    def score(texts: list[str]) -> Toxicity:
        parts = [model.predict(texts[start : start + BATCH])["toxicity"] for start in range(0, len(texts), BATCH)]
        return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])

    return score


def kind(name: str, variant: str) -> ScorerKind:
    """A variant under its name in the config. Whether it is available is checked by loading it on the CPU."""
    return ScorerKind(name, lambda: detoxify(variant), lambda: detoxify(variant, "cpu"))


SCORER = kind("detoxify", "original")
