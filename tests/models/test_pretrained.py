import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM

from forgetfilter.errors import UserError
from forgetfilter.models.classifiers import Classifier
from forgetfilter.models.loading import load_base, load_tokenizer, resolve
from forgetfilter.models.pretrained import load_adapter, load_model
from forgetfilter.models.sentence_encoder import HEADS

CPU = torch.device("cpu")
GENERATION = "generation_config.json"
FOUR_BIT = {"quant_method": "bitsandbytes", "load_in_4bit": True}
QUERY = "model.layers.0.self_attn.q_proj.weight"
Change = Callable[[Path], Any]


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


def with_config(**values: Any) -> Change:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def with_weights(change: Callable[[dict[str, torch.Tensor]], Any], file: str = "model.safetensors") -> Change:
    def changed(folder: Path) -> None:
        weights = load_file(folder / file)
        change(weights)
        save_file(weights, folder / file, metadata={"format": "pt"})

    return changed


def with_file(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def with_code(folder: Path) -> None:
    with_config(auto_map={"AutoModelForCausalLM": "theirs.Model", "AutoConfig": "theirs.Config"})(folder)
    (folder / "theirs.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


def with_tokenizer_code(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["theirs.Words", None]}}))
    (folder / "theirs.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


def with_large_number(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["cat"] = 2**31
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


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
    "pickled weights": (pickled, "pytorch_model.bin, a pickle, .* AutoModel.from_pretrained.FOLDER..save_pretrained"),
    "code of its own": (with_code, r"code of its own \(theirs.py\)"),
    "a tokenizer with code of its own": (with_tokenizer_code, r"code of its own \(theirs.py\)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_folder_is_one_line(model: Path, tmp_path: Path, name: str) -> None:
    # Whatever is wrong with it is told with the config's key, before anything is trained; nothing of it is run.
    change, told = BROKEN[name]
    change(model)
    with pytest.raises(UserError, match=rf"^model\.name: .*{told}") as error:
        folder = resolve(str(model), None, tmp_path / "cache").path
        load_tokenizer(folder, None)
        load_base(folder, "float32", "sdpa", CPU)
    assert "\n" not in str(error.value)
    assert not (model / "ran").exists()


def test_tied_weights_are_not_missing(model: Path) -> None:
    # A model whose output layer is its embeddings stores them once.
    settings = json.loads((model / "config.json").read_text())
    tied = AutoModelForCausalLM.from_pretrained(model)
    tied.config.tie_word_embeddings = True
    tied.tie_weights()
    tied.save_pretrained(model)
    assert not settings["tie_word_embeddings"] and "lm_head.weight" not in load_file(model / "model.safetensors")
    loaded: Any = load_base(model, "float32", "sdpa", CPU)
    assert torch.equal(loaded.lm_head.weight, loaded.model.embed_tokens.weight)


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
    "a tensor deleted": (with_weights(lambda w: w.pop(sorted(w)[0]), FILE), "not whole: it differs in .*q_proj.lora_A"),
    "a tensor renamed": (with_weights(lambda w: w.update({"more": w.pop(sorted(w)[0])}), FILE), "differs in .*more"),
    "another size": (with_weights(lambda w: w.update({sorted(w)[0]: torch.zeros(5, 32)}), FILE), "cannot be loaded"),
}


@pytest.mark.parametrize("name", BROKEN_ADAPTERS)
def test_a_broken_adapter_is_one_line(adapter: Path, tiny_model: Path, name: str) -> None:
    # A weight that an adapter lacks would be random or zero without a word.
    change, told = BROKEN_ADAPTERS[name]
    change(adapter)
    with pytest.raises(UserError, match=f"^model.name: .*{told}") as error:
        load_adapter(load_base(tiny_model, "float32", "sdpa", CPU), adapter, "model.name")
    assert "\n" not in str(error.value)


def test_a_whole_adapter_is_loaded(adapter: Path, tiny_model: Path) -> None:
    # And changes what the model says; so the test above refuses for its reasons alone.
    ids = torch.arange(6)[None]
    base = load_base(tiny_model, "float32", "sdpa", CPU).eval()
    plain = base(input_ids=ids).logits
    adapted = load_adapter(base, adapter, "model.name").eval()
    assert not torch.allclose(adapted(input_ids=ids).logits, plain)


def test_an_encoder_may_come_with_heads_or_without_and_lacks_nothing_else(tmp_path: Path) -> None:
    # A masked language model has a head that an encoder does not read, and no pooler: neither is; layers are.
    sizes = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    BertForMaskedLM(BertConfig(**sizes, num_hidden_layers=2)).save_pretrained(tmp_path)
    load_model("AutoModel", tmp_path, "score.encoder", HEADS)
    with_config(num_hidden_layers=3)(tmp_path)
    with pytest.raises(UserError, match=r"^score\.encoder: .* lacks weights: .*encoder.layer.2"):
        load_model("AutoModel", tmp_path, "score.encoder", HEADS)


def test_a_classifier_without_its_head_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    # A language model given as a judge would classify by a head of random numbers.
    folder = shutil.copytree(tiny_model, tmp_path / "classifier")
    with_config(id2label={"0": "safe", "1": "unsafe"}, label2id={"safe": 0, "unsafe": 1})(folder)
    judge = Classifier(folder, [], CPU, "eval.judge.model", "eval.judge.labels")
    with pytest.raises(UserError, match=r"^eval\.judge\.model: .* lacks weights: score\.weight"):
        judge.probabilities(["a"])
