"""Detoxify (Hanu and Unitary 2020), a BERT trained on the Jigsaw comments; the paper uses this scorer."""

import hashlib
from typing import Any

import numpy as np

from forgetfilter.errors import UserError, reason
from forgetfilter.files import sha256_value
from forgetfilter.models.data_only import data_only

from .base import KEY, Scorer, ScorerKind, Toxicity

BATCH = 32  # how many texts go through BERT together


def detoxify(variant: str) -> Scorer:
    """The scorer of one of Detoxify's models, on this rank's device. UserError as `load`."""
    from forgetfilter.process.distributed import world  # loads torch, which checking a name does not need

    model = load(variant, world().device)

    def score(texts: list[str]) -> Toxicity:
        parts = [model.predict(texts[start : start + BATCH])["toxicity"] for start in range(0, len(texts), BATCH)]
        return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])

    return score


def load(variant: str, device: object) -> Any:
    """One of Detoxify's models. UserError where Detoxify is not installed or its weights are not available."""
    instead = "set eval.toxicity_scorer=profanity-check to score offline"
    try:
        from detoxify import Detoxify
    except ImportError as error:
        raise UserError(f"{KEY}: detoxify needs `pip install forgetfilter[detoxify]`; {instead}") from error
    try:
        with data_only():  # Detoxify itself would load its checkpoint, a pickle, and run the code in it
            return Detoxify(variant, device=device)
    except Exception as error:  # torch.hub, urllib and transformers each raise types of their own
        raise UserError(f"{KEY}: the weights of detoxify cannot be had ({reason(error)}); {instead}") from error


def identity(variant: str) -> str:
    """The hash of the weights, configuration, labels and tokenizer of one of the models, which is loaded on the CPU.

    Detoxify takes them from a checkpoint and from the hub's cache, either of which may change. UserError as `load`.
    """
    import torch

    from forgetfilter.data.tokens import tokenizer_identity

    model, weights = load(variant, "cpu"), hashlib.sha256()
    for name, tensor in sorted(model.model.state_dict().items()):
        weights.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        weights.update(tensor.flatten().view(torch.uint8).numpy())
    about = {key: value for key, value in model.model.config.to_diff_dict().items() if key != "transformers_version"}
    return sha256_value([weights.hexdigest(), about, list(model.class_names), tokenizer_identity(model.tokenizer)])


def kind(name: str, variant: str) -> ScorerKind:
    """A variant under its name in the config."""
    return ScorerKind(name, lambda: detoxify(variant), lambda: identity(variant))


SCORER = kind("detoxify", "original")
