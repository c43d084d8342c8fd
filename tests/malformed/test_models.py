"""Model folders, adapters, templates and DeepSpeed files that cannot be used: each is one line by the config's key."""

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from forgetfilter.train.zero import GATHER, settings
from malformed.changes import (
    Change,
    cut,
    pickled,
    with_code,
    with_config,
    with_file,
    with_large_number,
    with_tokenizer_code,
    with_weights,
)  # fmt: skip
from malformed.one_line import one_line
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from forgetfilter.config.schema import ScheduleConfig
from forgetfilter.data.rendering import check_template
from forgetfilter.models.loading import load_base, load_tokenizer, resolve
from forgetfilter.models.preflight import check_answers_fit, check_model
from forgetfilter.models.pretrained import load_adapter

CPU = torch.device("cpu")
QUERY = "model.layers.0.self_attn.q_proj.weight"
TOKENIZER, GENERATION = "tokenizer.json", "generation_config.json"
BROKEN: dict[str, tuple[Change, str]] = {
    "an empty config": (with_file("config.json", b""), "config.json is not valid JSON"),
    "a config of garbage": (with_file("config.json", b"\xff{"), "config.json is not valid JSON"),
    "a config that is a list": (with_file("config.json", b"[]"), "config.json holds no JSON object"),
    "an empty tokenizer": (with_file("tokenizer.json", b""), "tokenizer.json is not valid JSON"),
    "a tokenizer without a vocabulary": (with_file("tokenizer.json", b"{}"), "no usable tokenizer"),
    "generation settings that are a list": (with_file(GENERATION, b"[]"), "holds no JSON object"),
    "an end that is no number": (
        with_file("generation_config.json", b'{"eos_token_id": [1, "</s>"]}'),
        "numbers, got '</s>'",
    ),
    "an end that is an object": (with_file("generation_config.json", b'{"eos_token_id": {}}'), "numbers, got {}"),
    "a token of a huge number": (with_large_number, "gives a token the number 2147483648"),
    "plain weights told to be stored in 4 bits": (
        with_config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "has plain weights, but",
    ),
    "an unknown kind": (with_config(model_type="nosuch"), "model type `nosuch`"),
    "a wrong type": (with_config(hidden_size="wide"), "'hidden_size': TypeError"),
    "other sizes": (with_config(intermediate_size=32), "other sizes than its config says: model.layers.0.mlp.down_pr"),
    "more layers than weights": (with_config(num_hidden_layers=3), "lacks weights: model.layers.2.input_layernorm"),
    "fewer layers than weights": (with_config(num_hidden_layers=1), "its model does not take: model.layers.1.input_l"),
    "a tensor deleted": (with_weights(lambda w: w.pop(QUERY)), f"lacks weights: {QUERY}"),
    "a tensor renamed": (with_weights(lambda w: w.update({"q": w.pop(QUERY)})), f"lacks weights: {QUERY}"),
    "a tensor too many": (with_weights(lambda w: w.update({"more": torch.zeros(2)})), "its model does not take: more"),
    "empty weights": (with_file("model.safetensors", b""), "model.safetensors is not whole"),
    "weights cut short": (cut, "model.safetensors is not whole"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
    "pickled weights": (pickled, "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW)"),
    "code of its own": (with_code, "code of its own (theirs.py)"),
    "a tokenizer with code of its own": (with_tokenizer_code, "code of its own (theirs.py)"),
}


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_folder(model: Path, tmp_path: Path, name: str) -> None:
    # Whatever is wrong with a model folder gives one line with the key, and no code in it is run.
    change, said = BROKEN[name]
    change(model)

    def load() -> None:
        folder = resolve(str(model), None, tmp_path / "cache").path
        load_tokenizer(folder, None)
        load_base(folder, "float32", "sdpa", CPU)

    line = one_line(load)
    assert line.startswith("forgetfilter: model.name: ") and said in line
    assert not (model / "ran").exists()


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    folder = tmp_path / "adapter"
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), settings).save_pretrained(folder)
    return folder


FILE = "adapter_model.safetensors"
BROKEN_ADAPTERS: dict[str, tuple[Change, str]] = {
    "cut": (lambda folder: (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-1]), "is not whole"),
    "empty": (with_file(FILE, b""), "is not whole"),
    "gone": (lambda folder: (folder / FILE).unlink(), "holds no weights"),
    "a config of garbage": (with_file("adapter_config.json", b"{"), "adapter_config.json is not valid JSON"),
    "a tensor deleted": (with_weights(lambda w: w.pop(sorted(w)[0]), FILE), "q_proj.lora_A"),
    "a tensor renamed": (with_weights(lambda w: w.update({"more": w.pop(sorted(w)[0])}), FILE), "more"),
    "another size": (with_weights(lambda w: w.update({sorted(w)[0]: torch.zeros(5, 32)}), FILE), "cannot be loaded"),
}


@pytest.mark.parametrize("name", BROKEN_ADAPTERS)
def test_a_broken_adapter(adapter: Path, tiny_model: Path, name: str) -> None:
    # An adapter that lacks a weight, which would be random or zero without a word, is refused.
    change, said = BROKEN_ADAPTERS[name]
    change(adapter)
    line = one_line(lambda: load_adapter(load_base(tiny_model, "float32", "sdpa", CPU), adapter, "model.name"))
    assert line.startswith("forgetfilter: model.name: ") and said in line


def test_a_whole_adapter_is_loaded(adapter: Path, tiny_model: Path) -> None:
    # A whole adapter changes what the model says, so the test above refuses for its reasons alone.
    ids = torch.arange(6)[None]
    base = load_base(tiny_model, "float32", "sdpa", CPU).eval()
    plain = base(input_ids=ids).logits
    adapted = load_adapter(base, adapter, "model.name").eval()
    assert not torch.allclose(adapted(input_ids=ids).logits, plain)


SIZES = {"vocab_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16}
KINDS = [
    ("bert", False, "the model looks ahead"), ("bert", True, "the model looks ahead"),
    ("t5", True, "t5 is no causal language model"), ("bloom", True, "bloom with sdpa attention"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "packing", "said"), KINDS)
def test_a_kind_of_model_that_cannot_be(tmp_path: Path, kind: str, packing: bool, said: str) -> None:
    # A kind of model that cannot work is known from its folder.
    config = AutoConfig.for_model(kind, **(SIZES if kind != "t5" else {"d_model": 8, "num_layers": 1, "num_heads": 2}))
    (AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM).from_config(config).save_pretrained(tmp_path)
    assert said in one_line(lambda: check_model(tmp_path, "sdpa", packing, None))


CONFIGS = [
    ({"attention_dropout": 5}, "dropout"), ({"hidden_size": 0}, "negative power"), ({"num_key_value_heads": 3}, "size"),
    ({"vocab_size": 0}, "positive"), ({"hidden_act": "nosuch"}, "nosuch"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "said"), CONFIGS, ids=range(len(CONFIGS)))
def test_a_config_that_describes_no_working_model(model: Path, values: dict[str, Any], said: str) -> None:
    # Whatever a layer says of the config, and what only training would find, is one line with the key.
    with_config(**values)(model)
    line = one_line(lambda: check_model(model, "sdpa", True, None))
    assert line.startswith("forgetfilter: model.name: ") and said in line


def test_answers_longer_than_the_context(tiny_model: Path) -> None:
    # Answers that would fill the whole context of 512 positions are refused with the key.
    check_answers_fit(tiny_model, {"eval.max_new_tokens": 511})
    said = one_line(lambda: check_answers_fit(tiny_model, {"eval.max_new_tokens": 512}))
    assert "eval.max_new_tokens is 512, but the model's context has 512 tokens" in said


EACH, TURN = "{% for m in messages %}", "{{ m['role'] }}:{{ m['content'] }};"
TEMPLATES: dict[str, tuple[bytes, str]] = {
    "no UTF-8": (b"\xff", "cannot be read"),
    "no Jinja": (b"{% for %}", "it fails"),
    "an open block": (b"{% if messages %}", "it fails"),
    "an unknown name": (b"{{ nosuch.field }}", "it fails ('nosuch' is undefined)"),
    "its own error": (b"{{ raise_exception('only systems') }}", "it fails (only systems)"),
    "its own error without words": (b"{{ raise_exception('') }}", "it fails (TemplateError)"),
    "a division by zero": (b"{{ 1 // 0 }}", "it fails (integer"),
    "roles only": (EACH.encode() + b"{{ m['role'] }}{% endfor %}", "it leaves out the answer"),
    "users only": (f"{EACH}{{% if m['role'] == 'user' %}}{TURN}{{% endif %}}{{% endfor %}}".encode(), "leaves out the"),
    "answers only": (f"{EACH}{{% if m['role'] != 'user' %}}{TURN}{{% endif %}}{{% endfor %}}".encode(), "of the user"),
    "a constant": (b"hello", "it leaves out the answer"),
    "nothing": (b" ", "it leaves out the answer"),
    "a prompt that depends on the answer": (b"{{ messages|length }}{{ messages[-1]['content'] }}", "otherwise once"),
    "Python's hidden names": (b"{{ ''.__class__.__mro__[1].__subclasses__() }}", "it fails (access to attribute"),
    "a file": (b"{% include '/etc/hostname' %}", "it fails"),
    "a long loop": (b"{% for a in range(9**9) %}{% endfor %}", "it fails (Range too big"),
    "an endless loop": (
        b"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "takes more",
    ),
    "millions of characters": (EACH.encode() + b"{{ m['content'] * 30000000 }}{% endfor %}", "it makes 30000000 char"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_cannot_be_used(
    tiny_model: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A template that cannot be used is refused with its key, before any data are read.
    monkeypatch.setattr("forgetfilter.data.rendering.LONGEST_RENDERING", 0.2)
    content, said = TEMPLATES[name]
    file = tmp_path / "t.jinja"
    file.write_bytes(content)
    line = one_line(lambda: check_template(load_tokenizer(tiny_model, str(file)), ""))
    assert line.startswith("forgetfilter: model.chat_template: ") and said in line


SCHEDULE = ScheduleConfig(lr=1e-3, max_grad_norm=0.5)
DEEPSPEED: list[tuple[Any, str]] = [
    ({"train_batch_size": 8}, "train_batch_size is 8, but batches follow train.noisy.batch_size"),
    ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps is 4"),
    ({"gradient_clipping": 0.1}, "gradient_clipping is 0.1, but train.noisy.max_grad_norm is 0.5"),
    ({"scheduler": {"type": "WarmupLR"}}, "scheduler: the rate follows train.noisy.schedule"),
    ({"optimizer": {"type": "Lamb"}}, "optimizer.type is 'Lamb'"),
    ({"optimizer": {"type": "AdamW", "params": {"lr": 1}}}, "params.lr is 1, but train.noisy.lr is 0.001"),
    ({"optimizer": {"type": "AdamW", "params": 7}}, "optimizer.params must be a JSON object"),
    ({"zero_optimization": {"stage": 3, GATHER: False}}, f"zero_optimization.{GATHER} is false"),
    ({"zero_optimization": {"stage": "three"}}, "zero_optimization.stage"),
    ({"zero_optimization": {"stage": 4}}, "zero_optimization.stage"),
    ({"zero_optimization": 3}, "zero_optimization must be a JSON object"),
    ({"bf16": True}, "bf16 must be a JSON object"),
    ([], "must be a JSON object"),
    (7, "must be a JSON object"),
    ('{"a": 1 // one\n}', "line 1: not valid JSON"),
    ("", "line 1: not valid JSON"),
    ("[" * 100_000, "not valid JSON (maximum recursion"),
    ('{"a": 1, "a": 2}', "there twice"),
    (b"\xff", "not valid JSON"),
]


@pytest.mark.parametrize(("value", "said"), DEEPSPEED, ids=range(len(DEEPSPEED)))
def test_a_deepspeed_file_that_is_not_the_runs(tmp_path: Path, value: Any, said: str) -> None:
    # The line names the file, in the place of transformers' traceback.
    file = tmp_path / "ds.json"
    text = value if isinstance(value, str | bytes) else json.dumps(value)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    line = one_line(lambda: settings(str(file), "full", "noisy", SCHEDULE))
    assert line.startswith(f"forgetfilter: {file}") and said in line
