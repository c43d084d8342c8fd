"""A tiny random language model with its tokenizer, for tests that need a real one."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before any library looks: no test may depend on the hub
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # as every command sets it before the libraries are there
os.environ.setdefault("OMP_NUM_THREADS", "1")  # models are tiny: a second thread only waits, on a busy core for long

import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from browser import Browser

# Below tests/. A long file that starts last keeps one core alone busy.
SLOW_FIRST = ("train", "score", "test_full_disk.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that the cores are done at about the same time."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(here).parts[0] not in SLOW_FIRST)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Browser"]:
    from browser import Browser

    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def forked_ranks() -> Iterator[None]:
    """The ranks of this file start at once (forked.py)."""
    from forked import ForkedRank

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forgetfilter.process.launch.subprocess", SimpleNamespace(Popen=ForkedRank))
        yield


@pytest.fixture
def real_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranks of this test start as a user's, by `python -m`."""
    monkeypatch.setattr("forgetfilter.process.launch.subprocess", subprocess)


TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = ["the cat sat on the mat", "a polite answer to the question", "what is the capital of the land"]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny-llama")


def make_tiny_model(folder: Path) -> Path:
    """A folder with a random Llama (hidden 32, 2 layers, 320 tokens) and its tokenizer, whose pad token is EOS."""
    import torch
    from toy_tokenizers import byte_pairs
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|im_start|>", "<|im_end|>"]
    trained = byte_pairs(CORPUS, 320, special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained, eos_token=special[1], pad_token=special[1])
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def wide_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with rows of 32 and more: bitsandbytes' CPU kernels want them."""
    import shutil

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    wide = shutil.copytree(tiny_model, tmp_path_factory.mktemp("wide") / "wide-llama")
    shape = LlamaConfig.from_pretrained(tiny_model, hidden_size=128, intermediate_size=128, num_key_value_heads=4)
    shape.head_dim = 32
    torch.manual_seed(0)
    LlamaForCausalLM(shape).save_pretrained(wide)
    return wide


@pytest.fixture(scope="session")
def tiny_guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama that knows of a text no more than its last character, and so is a guard with known odds.

    After "!" it writes unsafe (a logit of 2 against 0 for safe), after "." safe (1 against -1), after ";" a new line,
    after a new line as after "!", and after anything else nothing.
    """
    import torch
    from toy_tokenizers import by_bytes
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("guard")
    tokenizer = by_bytes()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    size = len(tokenizer) + len(tokenizer) % 2
    sizes: dict[str, Any] = {"hidden_size": size, "intermediate_size": 8, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": size, "max_position_embeddings": 256}
    model = LlamaForCausalLM(LlamaConfig(**sizes, rms_norm_eps=1e-12, bos_token_id=None, eos_token_id=0))
    after = {"!u": 2.0, "!s": 0.0, ".u": -1.0, ".s": 1.0, ";\n": 5.0, "\nu": 2.0, "\ns": 0.0}
    after |= dict.fromkeys(("un", "ns", "sa", "af", "fe"), 9.0)
    with torch.no_grad():
        layer = model.model.layers[0]
        layer.self_attn.o_proj.weight.zero_()  # what came earlier has no say
        layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.zero_()
        model.lm_head.weight[0] = 1e-3  # else it ends
        for (last, following), logit in after.items():
            there, to = (tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in (last, following))
            model.lm_head.weight[to, there] = logit / size**0.5  # the norm makes sqrt(size) of a 1
    model.save_pretrained(folder)
    return folder
