"""Tokenizers of toy models: of single bytes, and of the pairs of bytes that a few sentences teach."""

from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast


def by_bytes(**special: str) -> PreTrainedTokenizerFast:
    """A byte is a token; `</s>`, the token 0, ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = _of_bytes(vocab={"</s>": 0} | {byte: number for number, byte in enumerate(alphabet, 1)}, merges=[])
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", **special)


def byte_pairs(sentences: Iterable[str], size: int, special: Sequence[str]) -> Tokenizer:
    """`size` tokens: the special ones, the bytes, and pairs that the sentences have most often."""
    made = _of_bytes()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        sentences, trainers.BpeTrainer(vocab_size=size, special_tokens=[*special], initial_alphabet=alphabet)
    )
    return made


def _of_bytes(**known: Any) -> Tokenizer:
    made = Tokenizer(models.BPE(**known))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made
