"""What some models do to their logits after the output layer, so that the head that returns losses does it instead.

A cap (Gemma): cap * tanh(logits / cap). A scale: logits / logits_scaling (Granite) or logits * logit_scale (Cohere).
"""

from collections.abc import Callable
from typing import Any

import torch

Change = Callable[[torch.Tensor, float], torch.Tensor]
CHANGES: dict[
    str, tuple[Change, float | None]
] = {  # by the key in the model's config: the change, and what turns it off
    "final_logit_softcapping": (lambda logits, cap: torch.tanh(logits / cap) * cap, None),
    "logits_scaling": (lambda logits, scale: logits / scale, 1.0),
    "logit_scale": (lambda logits, scale: logits * scale, 1.0),
}


class LogitChanges:
    """The changes of one model, in the place of the model's own while these are turned off."""

    def __init__(self, model: torch.nn.Module):
        own: Any = getattr(model, "get_base_model", lambda: model)()  # below an adapter
        holders = (own.config.get_text_config(), own)  # some models read the config, others what they took from it
        self.found = [
            (holder, key, value)
            for key in CHANGES
            for holder in holders
            if (value := getattr(holder, key, None)) not in (None, 1)
        ]

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits as the model would have changed them, in the same dtype."""
        for key, value in {key: value for _, key, value in self.found}.items():
            logits = CHANGES[key][0](logits, value)
        return logits

    def turn_off(self) -> None:
        """The model leaves what its output layer returns as it is."""
        for holder, key, _ in self.found:
            setattr(holder, key, CHANGES[key][1])

    def turn_on(self) -> None:
        """The model is as it was."""
        for holder, key, value in self.found:
            setattr(holder, key, value)
