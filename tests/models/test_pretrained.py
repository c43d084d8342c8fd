import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from malformed.changes import with_config
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM

from forgetfilter.errors import UserError
from forgetfilter.models.classifiers import Classifier
from forgetfilter.models.loading import load_base
from forgetfilter.models.pretrained import load_model
from forgetfilter.models.sentence_encoder import HEADS

CPU = torch.device("cpu")
GENERATION = "generation_config.json"
FOUR_BIT = {"quant_method": "bitsandbytes", "load_in_4bit": True}
QUERY = "model.layers.0.self_attn.q_proj.weight"
Change = Callable[[Path], Any]


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


def test_tied_weights_are_not_missing(model: Path) -> None:
    # A model whose output layer is its embeddings stores them once, and nothing counts as missing.
    settings = json.loads((model / "config.json").read_text())
    tied = AutoModelForCausalLM.from_pretrained(model)
    tied.config.tie_word_embeddings = True
    tied.tie_weights()
    tied.save_pretrained(model)
    assert not settings["tie_word_embeddings"] and "lm_head.weight" not in load_file(model / "model.safetensors")
    loaded: Any = load_base(model, "float32", "sdpa", CPU)
    assert torch.equal(loaded.lm_head.weight, loaded.model.embed_tokens.weight)


def test_an_encoder_may_come_with_heads_or_without_and_lacks_nothing_else(tmp_path: Path) -> None:
    # An encoder may lack a pooler and have a head that it does not read, but a missing layer is refused.
    sizes = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    BertForMaskedLM(BertConfig(**sizes, num_hidden_layers=2)).save_pretrained(tmp_path)
    load_model("AutoModel", tmp_path, "score.encoder", HEADS)
    with_config(num_hidden_layers=3)(tmp_path)
    with pytest.raises(UserError, match=r"^score\.encoder: .* lacks weights: .*encoder.layer.2"):
        load_model("AutoModel", tmp_path, "score.encoder", HEADS)


def test_a_classifier_without_its_head_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    # A language model given as a judge would classify by a head of random numbers, so it is refused.
    folder = shutil.copytree(tiny_model, tmp_path / "classifier")
    with_config(id2label={"0": "safe", "1": "unsafe"}, label2id={"safe": 0, "unsafe": 1})(folder)
    judge = Classifier(folder, [], CPU, "eval.judge.model", "eval.judge.labels")
    with pytest.raises(UserError, match=r"^eval\.judge\.model: .* lacks weights: score\.weight"):
        judge.probabilities(["a"])
