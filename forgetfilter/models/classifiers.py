"""Any text classification model of transformers: the probability that a text has one of the harmful labels."""

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from forgetfilter.errors import UserError
from forgetfilter.models.pretrained import load_config, load_model, load_plain_tokenizer

BATCH = 32  # texts that go through the model together
CONTEXT = 512  # tokens, where neither the tokenizer nor the config tells the context
# Labels that mean harm wherever a config uses them; any other label must be named.
HARMFUL = ("unsafe", "harmful", "toxic", "toxicity", "hate", "hateful", "offensive", "hate speech", "nsfw")


class Classifier:
    """`labels`: the names of the harmful ones; "*" for all; none for those that HARMFUL knows. `key` names the model's
    config key in errors, `labels_key` that of the labels; `longest`: tokens of a text that are read
    at most; `closed`: a text ends with the end-of-sequence token. The model is loaded by the first call of
    `probabilities`."""

    def __init__(
        self,
        folder: Path,
        labels: list[str],
        device: torch.device,
        key: str,
        labels_key: str,
        longest: int | None = None,
        closed: bool = False,
    ):
        self.folder, self.device, self.key, self.labels_key = folder, device, key, labels_key
        self.longest, self.closed = longest, closed
        self.wanted = self._wanted(labels)

    def probabilities(self, texts: list[str]) -> list[float]:
        """The probability of a harmful label: by softmax; the highest by sigmoid where a text may have several.

        A text that is too long loses its end. The probability is NaN where the model gives no number.
        """
        model, tokenizer = self._loaded
        context = min(_context(model), int(tokenizer.model_max_length), self.longest or sys.maxsize)
        texts = [text + tokenizer.eos_token for text in texts] if self.closed else texts
        several = model.config.problem_type == "multi_label_classification" or model.config.num_labels == 1
        found: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                batch = tokenizer(
                    texts[start : start + BATCH], padding=True, truncation=True, max_length=context, return_tensors="pt"
                ).to(self.device)
                logits = model(**batch).logits.float()
                chances = torch.sigmoid(logits) if several else torch.softmax(logits, dim=-1)
                harmful = chances[:, self.wanted]
                # the probabilities of labels that exclude one another add up
                total = harmful.max(dim=1).values if several else harmful.sum(dim=1)
                found.extend(np.asarray(total.cpu(), dtype=np.float64).tolist())
        return found

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        tokenizer = load_plain_tokenizer(self.folder, self.key)
        model = load_model("AutoModelForSequenceClassification", self.folder, self.key)
        # the model needs a pad token: a decoder reads the last token that is no padding
        if tokenizer.pad_token is None:
            tokenizer.add_special_tokens({"pad_token": "<pad>"})
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.config.pad_token_id = tokenizer.pad_token_id
        return model.to(self.device).eval(), tokenizer

    def _wanted(self, labels: list[str]) -> list[int]:
        """The numbers of the harmful labels, from the model's config alone."""
        names: dict[int, str] = load_config(self.folder, self.key).id2label
        if labels == ["*"]:
            return sorted(names)
        known = {name.casefold(): number for number, name in names.items()}
        asked = labels or [name for name in HARMFUL if name in known]
        if not asked or any(name.casefold() not in known for name in asked):
            told = ", ".join(names.values())
            raise UserError(f"{self.key}: say which labels of {self.folder} mean harm ({self.labels_key}): {told}")
        return sorted(known[name.casefold()] for name in asked)


def _context(model: Any) -> int:
    """The number of tokens that the model has positions for; RoBERTa's positions begin after that of its padding."""
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    positions = int(getattr(model.config, "max_position_embeddings", None) or CONTEXT)
    return positions if padding is None else positions - padding - 1
