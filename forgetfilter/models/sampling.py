"""Samples that depend on neither their batch nor their rank.

A sample is drawn by numbers that come from the seed, the prompt's text and the sample's number alone: one number a
token, at which the cumulative distribution is inverted. torch.multinomial would draw for a whole batch together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from forgetfilter.data.records import clean
from forgetfilter.files import sha256_value


@dataclass(frozen=True)
class Sampling:
    """Several answers to each prompt, drawn from the model's distribution."""

    samples: int
    temperature: float
    top_p: float
    """Tokens are drawn from the likeliest ones that together reach this probability."""
    seed: int


def sample_ids(ids: Sequence[str], samples: int) -> list[str]:
    """The id of each answer: the prompt's own, or ID#NUMBER for each of several, which stand side by side."""
    return list(ids) if samples == 1 else [f"{id_}#{number}" for id_ in ids for number in range(samples)]


def draws(texts: Sequence[str], sampling: Sampling, max_new_tokens: int) -> torch.Tensor:
    """Numbers in [0, 1), [answers, max_new_tokens]; `texts` are the prompts, each `sampling.samples` times in a row."""
    seeds = (
        int(sha256_value([sampling.seed, clean(text), number % sampling.samples])[:16], 16)
        for number, text in enumerate(texts)
    )
    return torch.from_numpy(np.stack([np.random.default_rng(seed).random(max_new_tokens) for seed in seeds]))


Drawn = tuple[torch.Tensor, float, float]  # numbers in [0, 1) [batch, max_new_tokens], temperature, top_p


class Draw:
    """A logits processor that leaves each row only the token on which its number falls; greedy decoding takes it."""

    def __init__(self, drawn: Drawn, width: int, device: torch.device):
        numbers, self.temperature, self.top_p = drawn
        self.numbers, self.width = numbers.to(device, torch.float32), width

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chances, tokens = torch.softmax(scores.float() / self.temperature, dim=-1).sort(descending=True, stable=True)
        reached = chances.cumsum(dim=-1)
        kept = chances * (reached - chances < self.top_p)  # up to the token that reaches top_p
        reached = kept.cumsum(dim=-1)
        at = self.numbers[:, ids.shape[1] - self.width, None] * reached[:, -1:]
        place = (reached <= at).sum(dim=-1, keepdim=True).clamp(max=scores.shape[1] - 1)
        # a number that rounding puts at the very end belongs to the last token that was kept
        place = torch.minimum(place, (kept > 0).sum(dim=-1, keepdim=True) - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens.gather(1, place), 0.0)
