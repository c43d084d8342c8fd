"""Tiny random models of the families, each with a tokenizer of its family's kind; a new family is one line below."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

QUESTION, ANSWER = "Say something about {}.", "Most {} are nice."
WORDS = ("apples", "rivers", "clocks", "birds", "stones", "lamps", "bread", "rain", "maps", "bees")
TURNS = ("user assistant", "[INST] [/INST]")
SPECIAL = ["<unk>", "<s>", "</s>", "<|start|>", "<|end|>"]
CHAT = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
INST = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
TEMPLATES = {"chat": CHAT, "chat with BOS": "{{ bos_token }}" + CHAT, "inst": INST, "none": None}
WIDE = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**WIDE, "num_key_value_heads": 2}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
DROPOUT = ("attn_pdrop", "embd_pdrop", "resid_pdrop")  # GPT-2's own; it would hide what training computes


@dataclass(frozen=True)
class Family:
    """A family's architecture and its tokenizer."""

    kind: str
    """transformers' model_type."""
    settings: dict[str, Any]
    pieces: str = "bytes"
    """How its tokenizer works: bytes (byte-level BPE), spaces (SentencePiece's, with a space before the text), or
    unspaced (SentencePiece's without it)."""
    template: str = "chat"
    """Of TEMPLATES; none for base models that have no chat template."""
    bos: bool = False
    """Whether its tokenizer puts BOS before a text."""
    eos: str = "</s>"
    packing: bool = True
    """Whether it keeps packed examples apart; Bloom and Falcon do not, and are refused with packing."""


FAMILIES = {
    "Llama 2": Family("llama", GROUPED, "spaces", "inst", bos=True),
    "Llama 2, base": Family("llama", GROUPED, "spaces", "none", bos=True),
    "Llama 3": Family("llama", GROUPED, template="chat with BOS", bos=True),
    "Llama 3, base": Family("llama", GROUPED, template="none", bos=True),
    "Mistral": Family("mistral", {**GROUPED, "sliding_window": None}, "spaces", "inst", bos=True),
    "Mistral, sliding window": Family("mistral", {**GROUPED, "sliding_window": 8}, "spaces", "inst", bos=True),
    "Mixtral": Family(
        "mixtral", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}, "spaces", "inst", bos=True
    ),
    "Qwen 2": Family("qwen2", GROUPED, eos="<|end|>"),
    "Qwen 2, base": Family("qwen2", GROUPED),
    "Qwen 2 MoE": Family("qwen2_moe", {**GROUPED, **EXPERTS, "shared_expert_intermediate_size": 64}, eos="<|end|>"),
    "Qwen 3": Family("qwen3", {**GROUPED, "head_dim": 32}, eos="<|end|>"),
    "Qwen 3 MoE": Family("qwen3_moe", {**GROUPED, **EXPERTS, "head_dim": 32}, eos="<|end|>"),
    "Gemma 2": Family("gemma2", {**GROUPED, "head_dim": 32}, "unspaced", "chat with BOS", bos=True),
    "Gemma 2, base": Family("gemma2", {**GROUPED, "head_dim": 32}, "unspaced", "none", bos=True),
    "Gemma 3": Family("gemma3_text", {**GROUPED, "head_dim": 32}, "unspaced", "chat with BOS", bos=True),
    "Phi 2": Family("phi", WIDE, template="none"),
    "Phi 3": Family("phi3", GROUPED, "spaces", eos="<|end|>"),
    "GPT-2": Family("gpt2", {"n_embd": 128, "n_layer": 2, "n_head": 4, **dict.fromkeys(DROPOUT, 0)}, template="none"),
    "GPT-NeoX": Family("gpt_neox", WIDE, template="none"),
    "OLMo": Family("olmo", WIDE, template="none"),
    "OLMo 2": Family("olmo2", WIDE),
    "OLMoE": Family("olmoe", {**GROUPED, **EXPERTS}),
    "Falcon": Family("falcon", WIDE, template="none", packing=False),
    "Bloom": Family("bloom", {"hidden_size": 128, "n_layer": 2, "n_head": 4}, template="none", packing=False),
    "Granite": Family("granite", {**GROUPED, "logits_scaling": 8.0}),
    "Cohere": Family("cohere", {**GROUPED, "logit_scale": 0.5}, template="chat with BOS", bos=True),
}


def make_model(folder: Path, family: Family) -> None:
    """Writes the family's tokenizer and a random model to a folder."""
    tokenizer = make_tokenizer(family)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    torch.manual_seed(0)
    config = AutoConfig.for_model(family.kind, vocab_size=len(tokenizer), **family.settings, **ids)
    tokenizer.save_pretrained(folder)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def make_tokenizer(family: Family) -> Any:
    """Trained on the words of the examples."""
    raw = _bytes() if family.pieces == "bytes" else _spaces(family.pieces == "spaces")
    if family.bos:
        bos = [("<s>", raw.token_to_id("<s>"))]
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=bos)
    names = {"eos_token": family.eos, "unk_token": "<unk>"} | ({"bos_token": "<s>"} if family.bos else {})
    made = PreTrainedTokenizerFast(tokenizer_object=raw, **names)
    made.chat_template = TEMPLATES[family.template]
    return made


def _spaces(leading: bool) -> Tokenizer:
    raw = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    replaced = normalizers.Replace(" ", "▁")
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replaced]) if leading else replaced
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    raw.decoder = decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if leading else [])])
    special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    raw.train_from_iterator(_words(), trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False))
    return raw


def _bytes() -> Tokenizer:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(_words(), trainer)
    return raw


def _words() -> list[str]:
    """With and without the space before them, as words stand in a text."""
    texts = [text.format(word) for text in (QUESTION, ANSWER, *TURNS) for word in WORDS]
    return [piece for text in texts for word in text.split() for piece in (word, f" {word}")] * 3
