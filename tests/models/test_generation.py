import copy
import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.data.records import clean
from forgetfilter.errors import Stopped, UserError
from forgetfilter.models import generation
from forgetfilter.models.generation import (
    Decoding,
    generate,
    generate_batch,
    is_complete,
    plan_batches,
    read_generations,
)
from forgetfilter.models.plain_answers import end_tokens, learn_end, left_out
from forgetfilter.process import interrupts
from forgetfilter.score.rouge import rouge1, score_rouge
from forgetfilter.storage.shards import read_manifest, shard_paths

PROMPTS = [(f"p{i}", "made", "word " * (i % 4) + str(i)) for i in range(7)]


@pytest.fixture(scope="module")
def toy() -> tuple[Any, Any]:
    """A random two-layer Llama in float32 and a byte-level tokenizer whose pad token is its EOS."""
    from toy_tokenizers import by_bytes
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = by_bytes(pad_token="</s>")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"initializer_range": 0.4, "max_position_embeddings": 128, "eos_token_id": 0, "bos_token_id": None}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape, **more)).eval()
    model.config.use_cache = False  # as forgetfilter.models leaves it
    return model, tokenizer


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(key, raising=False)


def greedy_by_hand(model, tokenizer, text, steps):
    """Argmax one token at a time, without cache, padding or batch."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    new: list[int] = []
    with torch.no_grad():
        while len(new) < steps:
            token = int(model(torch.tensor([ids + new])).logits[0, -1].argmax())
            if token == tokenizer.eos_token_id:
                break
            new.append(token)
    return clean(tokenizer.decode(new)), len(new)


def test_a_batch_equals_each_prompt_alone(toy):
    # In float32 neither the padding on the left nor the cache nor the other prompts of the batch change an answer.
    model, tokenizer = toy
    texts = [text for _, _, text in PROMPTS]
    assert generate_batch(model, tokenizer, texts, 10) == [greedy_by_hand(model, tokenizer, t, 10) for t in texts]


def test_the_models_own_sampling_settings_have_no_say(toy, monkeypatch):
    # A repetition penalty or a temperature that comes with a model does not change the greedy answers.
    model, tokenizer = toy
    plain = generate_batch(model, tokenizer, ["one two"], 10)
    monkeypatch.setattr(model.generation_config, "repetition_penalty", 5.0)
    monkeypatch.setattr(model.generation_config, "temperature", 0.3)
    monkeypatch.setattr(model.generation_config, "do_sample", True)
    assert generate_batch(model, tokenizer, ["one two"], 10) == plain


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("suppress_tokens", list(range(5, 60))),
        ("begin_suppress_tokens", list(range(5, 60))),
        ("bad_words_ids", [[token] for token in range(5, 60)]),
        ("forced_eos_token_id", 7),
        ("sequence_bias", [[[9], 50.0]]),
        ("no_repeat_ngram_size", 1),
        ("min_new_tokens", 9),
        ("stop_strings", ["e", "a"]),
        ("exponential_decay_length_penalty", [1, 5.0]),
        ("num_beams", 3),
        ("guidance_scale", 3.0),
    ],
)
def test_nothing_of_the_models_generation_config_changes_an_answer(toy, monkeypatch, name: str, value: Any) -> None:
    # Tokens that are suppressed, banned, forced or biased, beams, and whatever else transformers would fill in change
    # no answer, and each such setting is named.
    model, tokenizer = toy
    plain = generate_batch(model, tokenizer, ["one two", "cat"], 10)
    own = copy.deepcopy(model.generation_config)
    setattr(own, name, value)
    monkeypatch.setattr(model, "generation_config", own)
    assert generate_batch(model, tokenizer, ["one two", "cat"], 10) == plain
    assert model.generation_config is own and left_out(model) == [name]


def test_a_saved_model_ends_where_ours_does(toy, tmp_path: Path) -> None:
    # If a template ends its turns otherwise than by EOS, the end that was learned stands first in both saved configs,
    # so that transformers ends an answer where we do.
    model, tokenizer = toy
    model, tokenizer = copy.deepcopy(model), copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    learn_end(model, tokenizer)
    model.save_pretrained(tmp_path)
    found = [json.loads((tmp_path / f).read_text())["eos_token_id"] for f in ("config.json", "generation_config.json")]
    assert found == [[end, 0], [end, 0]] and end_tokens(model, tokenizer) == [0, end]
    loaded = type(model).from_pretrained(tmp_path)
    with torch.no_grad():  # a model that always says the end
        loaded.lm_head.weight[:] = 0
        loaded.lm_head.weight[end] = loaded(torch.tensor([[5]]), output_hidden_states=True).hidden_states[-1][0, -1]
    prompt = torch.tensor([[5]])
    assert loaded.generate(prompt, max_new_tokens=9, do_sample=False).tolist() == [[5, end]]
    assert generate_batch(loaded, tokenizer, [tokenizer.decode([5])], 9)[0][1] == 0


def test_an_answer_ends_at_the_end_token(toy, monkeypatch):
    # If the third generated token is declared an end of the model's own, at most two tokens are left, in a padded batch
    # too.
    model, tokenizer = toy
    ids = tokenizer("one two", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        third = int(model.generate(torch.tensor([ids]), max_new_tokens=3, do_sample=False, eos_token_id=None)[0, -1])
    monkeypatch.setattr(model.generation_config, "eos_token_id", [third])
    text, length = generate_batch(model, tokenizer, ["one two", "x" * 30], 10)[0]
    assert length <= 2
    assert third not in tokenizer(text, add_special_tokens=False)["input_ids"]


def test_empty_and_too_long_prompts(toy):
    # An empty prompt starts from a start token, a prompt that fills the context keeps its end, and a context without
    # room for an answer is refused.
    model, tokenizer = toy
    answers = generate_batch(model, tokenizer, ["", "y" * 500 + "tail"], 8)
    assert answers[1] == greedy_by_hand(model, tokenizer, ("y" * 500 + "tail")[-120:], 8)
    with pytest.raises(UserError, match="context has 128 tokens"):
        generate_batch(model, tokenizer, ["x"], 128)


def test_every_prompt_once_with_a_manifest_last(toy, tmp_path):
    # 7 prompts in batches of 3 make three shards with each id once, the answers of generate_batch, and a manifest,
    # which counts only as long as each shard is as it was written.
    model, tokenizer = toy
    generate(model, tokenizer, PROMPTS, tmp_path / "g", Decoding(6, 3, manifest={"model": "toy"}), "test")
    frame = read_generations(tmp_path / "g", [id_ for id_, _, _ in PROMPTS])
    assert frame["id"].to_list() == [f"p{i}" for i in range(7)]
    assert list(zip(frame["text"], frame["num_tokens"])) == generate_batch(model, tokenizer, [p[2] for p in PROMPTS], 6)
    assert len(shard_paths(tmp_path / "g")) == 3
    manifest = read_manifest(tmp_path / "g")
    assert (manifest["rows"], manifest["world_size"], manifest["model"]) == (7, 1, "toy")
    assert is_complete(tmp_path / "g", manifest["identity"]) and not is_complete(tmp_path / "g", "other")
    shard = shard_paths(tmp_path / "g")[1]
    shard.write_bytes(shard.read_bytes().replace(b"p", b"q", 1))
    assert not is_complete(tmp_path / "g", manifest["identity"])


def test_a_stop_keeps_whole_batches_and_a_rerun_does_the_rest(toy, tmp_path, monkeypatch):
    # A stop after batch 0 leaves one shard and no manifest, and the rerun makes only the other batches, even if another
    # rank wrote the first.
    model, tokenizer = toy
    folder = tmp_path / "g"
    monkeypatch.setattr(interrupts, "_received", [15])
    with pytest.raises(Stopped):
        generate(model, tokenizer, PROMPTS, folder, Decoding(6, 3), "test")
    assert len(shard_paths(folder)) == 1 and not (folder / "manifest.json").exists()
    monkeypatch.setattr(interrupts, "_received", [])
    (folder / "rank=00000").rename(folder / "rank=00003")
    done = []
    monkeypatch.setattr(
        generation, "generate_batch", lambda m, t, texts, *n: done.append(len(texts)) or generate_batch(m, t, texts, *n)
    )
    generate(model, tokenizer, PROMPTS, folder, Decoding(6, 3), "test")
    assert done == [3, 1]
    generate(model, tokenizer, PROMPTS, tmp_path / "whole", Decoding(6, 3), "test")
    assert read_generations(folder).equals(read_generations(tmp_path / "whole"))


@pytest.mark.parametrize("change", ["prompt", "tokens", "model"])
def test_answers_of_another_identity_are_made_anew(toy, tmp_path, change):
    # For another prompt, length or model nothing of the old folder is left.
    model, tokenizer = toy
    generate(model, tokenizer, PROMPTS, tmp_path, Decoding(6, 3, manifest={"model": "a"}), "test")
    prompts = [(*PROMPTS[0][:2], "other"), *PROMPTS[1:]] if change == "prompt" else PROMPTS
    length, name = (2 if change == "tokens" else 6), ("b" if change == "model" else "a")
    os.utime(shard_paths(tmp_path)[0], ns=(1, 1))
    generate(model, tokenizer, prompts, tmp_path, Decoding(length, 3, manifest={"model": name}), "test")
    assert shard_paths(tmp_path)[0].stat().st_mtime_ns != 1
    assert read_generations(tmp_path)["text"].to_list() == [
        text for text, _ in generate_batch(model, tokenizer, [p[2] for p in prompts], length)
    ]


def test_batches_are_sorted_by_tokens():
    # Prompts of 3, 1, 2 and 1 tokens make batches of 2 by length, and those of equal length keep the order of the data.
    assert plan_batches([3, 1, 2, 1], 2) == [[1, 3], [2, 0]]
    assert plan_batches([], 2) == []


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec=None), max_size=12))
def test_cleaned_text_is_utf8_and_stays_so(text):
    # Any Python string, even with lone surrogates, becomes one that UTF-8 can hold, and a clean string is left as it
    # is.
    cleaned = clean(text)
    assert cleaned.encode().decode() == cleaned == clean(cleaned)


def test_rouge_by_hand():
    # The stems of "the cats sat" and "cat sat down" share 2 of 3 each way; "aa aa bb" and "aa" share 1, so P is 1, R
    # 1/3 and F 1/2.
    assert rouge1("the cats sat", "cat sat down") == pytest.approx(2 / 3)
    assert rouge1("aa aa bb", "aa") == pytest.approx(0.5)
    assert rouge1("something", "") == 0.0


def test_rouge_of_generations_is_one_row_an_example(toy, tmp_path):
    # Every reference has its answer's score, in the references' order, and a missing answer is refused.
    model, tokenizer = toy
    generate(model, tokenizer, PROMPTS, tmp_path / "g", Decoding(6, 3), "test")
    texts = dict(read_generations(tmp_path / "g").select("id", "text").iter_rows())
    references = [(id_, source, f"{texts[id_]} extra") for id_, source, _ in PROMPTS]
    score_rouge(tmp_path / "g", references, tmp_path / "r", {"state": "noisy"})
    rows = pl.read_parquet(shard_paths(tmp_path / "r")[0])
    assert rows["id"].to_list() == [p[0] for p in PROMPTS]
    assert rows["rouge1"].to_list() == [rouge1(r, texts[id_]) for id_, _, r in references]
    assert read_manifest(tmp_path / "r")["state"] == "noisy"
    with pytest.raises(UserError, match="no row for 1 ids"):
        score_rouge(tmp_path / "g", [*references, ("new", "made", "x")], tmp_path / "r", {})
