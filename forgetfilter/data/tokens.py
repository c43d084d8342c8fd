"""Turns texts into tokens: the prompt is masked, the end is learned, and examples that are too long are cut by a
rule."""

from collections.abc import Sequence
from typing import Any

from forgetfilter.data.records import Message, clean
from forgetfilter.data.rendering import render
from forgetfilter.files import sha256_value

FOLLOWING = "A"  # stands for an answer's first word, to show which tokens belong to the prompt


def first_tokens(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a text by itself: BOS for Llama's and Gemma's, nothing for GPT-2's."""
    alone = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next((n for n in range(len(whole)) if whole[n : n + len(alone)] == alone), 0) if alone else 0
    return list(whole[:start])


def encode(tokenizer: Any, messages: list[list[Message]], max_length: int) -> list[tuple[list[int], int, bool]]:
    """(input_ids, num_prompt, cut) of each example; answers end with their end token, which is learned.

    The whole text is tokenised at once and parted where the answer begins, so that the model reads each token as in any
    other text: an answer by itself would begin with a token that it never sees there (SentencePiece's leading space).
    A token that reaches over the boundary belongs to the answer, as generation predicts it.

    Of an example that is too long, the prompt loses its beginning (but not BOS) down to a quarter of `max_length`, and
    then the answer its end, with its end token. At least one token stands before the answer, so that its first token
    has a prediction.
    """
    rendered = [render(tokenizer, chat) for chat in messages]
    batch = tokenizer([one.text for one in rendered], add_special_tokens=False)
    first = first_tokens(tokenizer)
    found = []
    for number, (one, ids) in enumerate(zip(rendered, batch["input_ids"])):
        num_prompt = _tokens_before(batch, number, one.start, len(one.text), len(ids))
        ids = [*ids] if one.ends else [*ids, tokenizer.eos_token_id]
        before = _missing_first(tokenizer, first if one.plain else [], ids, num_prompt)
        ids, num_prompt = [*before, *ids], num_prompt + len(before)
        found.append(_join(ids[:num_prompt], ids[num_prompt:], max_length, first))
    return found


def _tokens_before(batch: Any, number: int, start: int, end: int, length: int) -> int:
    """The number of tokens that end before the character `start`; characters that became no token are skipped."""
    if start == 0:
        return 0
    places = (batch.char_to_token(number, place) for place in range(start, end))
    return next((place for place in places if place is not None), length)


def _missing_first(tokenizer: Any, first: list[int], ids: list[int], num_prompt: int) -> list[int]:
    """What must stand before a text's tokens: BOS where the tokenizer puts it, and one token in any case."""
    if first and ids[: len(first)] != first:
        return first
    if num_prompt or (first and ids[: len(first)] == first):
        return []
    return [tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id]


def encode_prompts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of prompts that an answer will follow: those that `encode` puts before an answer."""
    return [ids for ids, _ in split_prompts(tokenizer, texts)]


def split_prompts(tokenizer: Any, texts: Sequence[str]) -> list[tuple[list[int], str]]:
    """(token ids, left) of prompts that an answer will follow.

    `left` are the spaces at a prompt's end that would be one token with the answer's first word: they are left to the
    answer, which is learned and written with them. Special tokens come from the chat template; without one the
    tokenizer's own (BOS) comes first. An empty prompt is one start token.
    """
    cleaned = [clean(text) for text in texts]
    followed = tokenizer([text + FOLLOWING for text in cleaned], add_special_tokens=False)
    alone = tokenizer(cleaned, add_special_tokens=False)["input_ids"] if any(cleaned) else [[]] * len(cleaned)
    first = [] if tokenizer.chat_template else first_tokens(tokenizer)
    found = []
    for number, (text, ids) in enumerate(zip(cleaned, alone)):
        place, left = (followed.char_to_token(number, len(text)) if text else None), ""
        if place is not None and not text[followed.token_to_chars(number, place).start :].strip():
            left = text[followed.token_to_chars(number, place).start :]
            ids = followed["input_ids"][number][:place]
        found.append(([*_missing_first(tokenizer, first, [*ids], len(ids)), *ids], left))
    return found


def keep_end(ids: list[int], room: int, first: list[int]) -> list[int]:
    """The last `room` tokens; where the text begins with the first tokens (BOS), these are kept before the others."""
    if len(ids) <= room:
        return ids
    kept = first if first and ids[: len(first)] == first and room > len(first) else []
    return [*kept, *ids[len(ids) - room + len(kept) :]]


def _join(prompt: list[int], answer: list[int], max_length: int, first: list[int]) -> tuple[list[int], int, bool]:
    if len(prompt) + len(answer) <= max_length:
        return prompt + answer, len(prompt), False
    room = max(max_length - len(answer), max_length // 4, 1)
    prompt = keep_end(prompt, room, first)
    return prompt + answer[: max_length - len(prompt)], len(prompt), True


def tokenizer_identity(tokenizer: Any) -> str:
    """The hash of all that turns text into tokens, without the chat template."""
    return sha256_value([tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token, tokenizer.bos_token])
