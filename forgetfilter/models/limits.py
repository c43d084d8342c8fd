"""The bounds in a model's own config: the tokens of its context and of its vocabulary."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forgetfilter.data.token_files import Prepared
from forgetfilter.errors import UserError

NO_LIMIT = 2**31


@dataclass(frozen=True)
class Limits:
    """The bounds in tokens; NO_LIMIT where the config names none."""

    context: int
    """The number of positions that the model knows."""
    vocabulary: int
    """The number of rows of its embeddings."""


def limits_of(folder: Path) -> Limits:
    """The limits of the model in a folder; none where the folder has no config of a known model."""
    from transformers import AutoConfig

    try:
        return limits_in(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    except (OSError, ValueError, KeyError):  # loading refuses what is no model
        return Limits(NO_LIMIT, NO_LIMIT)


def limits_in(config: Any) -> Limits:
    """The limits that a model's config names."""
    own = config.get_text_config()
    found = (getattr(own, name, None) or NO_LIMIT for name in ("max_position_embeddings", "vocab_size"))
    return Limits(*map(int, found))


def fit_tokenizer(tokenizer: Any, limits: Limits) -> None:
    """Has the tokenizer know the model's context, and pad with a token that the model has.

    Padding is masked by position, so any token does. UserError where the end token is beyond the embeddings.
    """
    tokenizer.model_max_length = limits.context
    if tokenizer.eos_token_id >= limits.vocabulary:
        raise UserError(_beyond("model.name", tokenizer.eos_token, tokenizer.eos_token_id, limits))
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= limits.vocabulary:
        tokenizer.pad_token = tokenizer.eos_token


def check_tokens(prepared: Prepared, tokenizer: Any, data: Path, limits: Limits) -> None:
    """UserError for the first row that holds a token beyond the model's embeddings."""
    before = 0
    for chunk in prepared.table["input_ids"].chunks:  # together they may be more than one array can hold
        beyond = np.flatnonzero(chunk.values.to_numpy() >= limits.vocabulary)
        if len(beyond):
            row = before + int(np.searchsorted(chunk.offsets.to_numpy(), beyond[0], side="right"))
            number = int(chunk.values[int(beyond[0])].as_py())
            text = tokenizer.convert_ids_to_tokens(number)
            raise UserError(_beyond(f"{data} line {row}", text, number, limits))
        before += len(chunk)


def check_prompts(asked: Iterable[tuple[str, Sequence[int]]], tokenizer: Any, limits: Limits) -> None:
    """UserError for the first of (name, token ids) that holds a token beyond the model's embeddings."""
    for name, ids in asked:
        if (number := max(ids, default=0)) >= limits.vocabulary:
            raise UserError(_beyond(name, tokenizer.convert_ids_to_tokens(number), number, limits))


def _beyond(where: str, text: str, number: int, limits: Limits) -> str:
    way = "take the tokenizer that belongs to the model, or resize the model's embeddings"
    return f"{where}: token {text!r} has the number {number}, but the model has {limits.vocabulary} embeddings: {way}"
