import shutil
from pathlib import Path

import pytest

from forgetfilter.errors import UserError
from forgetfilter.models.preflight import check_model

SIZES = {"vocab_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16}


def test_a_model_that_works_passes_with_its_layers(tiny_model: Path, tmp_path: Path) -> None:
    # A whole model passes; a layer for the adapter that is not there and weights that lack are refused.
    check_model(tiny_model, "sdpa", True, ["q_proj"])
    with pytest.raises(UserError, match=r"^train\.lora\.target_modules: nosuch not in the model"):
        check_model(tiny_model, "sdpa", True, ["q_proj", "nosuch"])
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3')
    )
    with pytest.raises(UserError, match="lacks weights"):
        check_model(folder, "sdpa", True, None)
