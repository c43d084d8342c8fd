import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from forgetfilter.errors import UserError
from forgetfilter.models.preflight import check_answers_fit, check_model

SIZES = {"vocab_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16}


@pytest.mark.parametrize(("kind", "packing", "told"), [
    ("bert", False, "the model looks ahead"), ("bert", True, "the model looks ahead"),
    ("t5", True, "t5 is no causal language model"), ("bloom", True, "bloom with sdpa attention"),
])  # fmt: skip
def test_kinds_that_cannot_be_are_refused(tmp_path: Path, kind: str, packing: bool, told: str) -> None:
    # In one line, from the folder alone.
    config = AutoConfig.for_model(kind, **(SIZES if kind != "t5" else {"d_model": 8, "num_layers": 1, "num_heads": 2}))
    (AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM).from_config(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=rf"^model\.(name|attention): .*{told}"):
        check_model(tmp_path, "sdpa", packing, None)


def test_a_model_that_works_passes_with_its_layers(tiny_model: Path, tmp_path: Path) -> None:
    # Its weights and the adapter's layers are looked at too.
    check_model(tiny_model, "sdpa", True, ["q_proj"])
    with pytest.raises(UserError, match=r"^train\.lora\.target_modules: nosuch not in the model"):
        check_model(tiny_model, "sdpa", True, ["q_proj", "nosuch"])
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3')
    )
    with pytest.raises(UserError, match="lacks weights"):
        check_model(folder, "sdpa", True, None)


def test_answers_longer_than_the_context_are_refused(tiny_model: Path) -> None:
    # The tiny model has 512 positions.
    check_answers_fit(tiny_model, {"eval.max_new_tokens": 511})
    with pytest.raises(UserError, match=r"eval\.max_new_tokens is 512, but the model's context has 512 tokens"):
        check_answers_fit(tiny_model, {"eval.max_new_tokens": 512})


@pytest.mark.parametrize(("settings", "told"), [
    ({"attention_dropout": 5}, "dropout"), ({"hidden_size": 0}, "negative power"), ({"num_key_value_heads": 3}, "size"),
    ({"vocab_size": 0}, "positive"), ({"hidden_act": "nosuch"}, "nosuch"),
])  # fmt: skip
def test_a_config_that_describes_no_working_model_is_one_line(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    # Whatever a layer says of it, and what only training would find.
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    with pytest.raises(UserError, match=rf"^model\.name: [^\n]*{told}[^\n]*$"):
        check_model(folder, "sdpa", True, None)
