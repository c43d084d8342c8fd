"""Turns texts into tokens: the prompt is masked, the end is learned, and examples that are too long are cut by a
rule."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from forgetfilter.data.records import Learn, Message, clean
from forgetfilter.data.rendering import Rendered, render
from forgetfilter.data.turns import Turn, within
from forgetfilter.files import sha256_value

FOLLOWING = "A"  # stands for an answer's first word, to show which tokens belong to the prompt


def first_tokens(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a text by itself: BOS for Llama's and Gemma's, nothing for GPT-2's."""
    alone = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next((n for n in range(len(whole)) if whole[n : n + len(alone)] == alone), 0) if alone else 0
    return list(whole[:start])


class Tokens(NamedTuple):
    """An example as the model reads it."""

    ids: list[int]
    turns: list[Turn]
    cut: Literal["", "around", "within"]
    """What of an example that was too long is not there: text of an answer (`within`), or no more than the prompt's
    beginning and the end token."""


def encode(
    tokenizer: Any, messages: list[list[Message]], max_length: int, learn: Sequence[Learn] | None = None
) -> list[Tokens]:
    """The tokens of each example; answers end with their end token, which is learned. `learn` says of each example
    which of its answers are; None for the last ones.

    The whole text is tokenised at once and parted where an answer begins, so that the model reads each token as in any
    other text: an answer by itself would begin with a token that it never sees there (SentencePiece's leading space).
    A token that reaches over the boundary belongs to the answer, as generation predicts it.

    Of an example that is too long, the prompt of the first answer that is learned loses its beginning (but not BOS)
    down to a quarter of `max_length`, and then the example its end, with its end token. At least one token stands
    before an answer, so that its first token has a prediction.
    """
    last: Sequence[Learn] = ["last"] * len(messages)
    rendered = [render(tokenizer, *one) for one in zip(messages, learn or last)]
    batch = tokenizer([one.text for one in rendered], add_special_tokens=False)
    first = first_tokens(tokenizer)
    found = []
    for number, (one, ids) in enumerate(zip(rendered, batch["input_ids"])):
        turns = _turns(batch, number, one, len(ids))
        ids = [*ids] if one.ends else [*ids, tokenizer.eos_token_id]
        turns[-1] = (turns[-1][0], len(ids))
        before = _missing_first(tokenizer, first if one.plain else [], ids, turns[0][0])
        found.append(_join([*before, *ids], within(turns, -len(before), len(before) + len(ids)), max_length, first))
    return found


def _turns(batch: Any, number: int, one: Rendered, length: int) -> list[Turn]:
    """The tokens of each span of characters. A token that reaches over an end of an answer belongs to it."""
    turns = list[Turn]()
    for start, end in one.spans:
        last = _tokens_before(batch, number, end, len(one.text), length)
        if last < length and batch.token_to_chars(number, last).start < end:
            last += 1
        turns.append((_tokens_before(batch, number, start, len(one.text), length), last))
    return turns


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


def _join(ids: list[int], turns: list[Turn], max_length: int, first: list[int]) -> Tokens:
    if len(ids) <= max_length:
        return Tokens(ids, turns, cut="")
    num_prompt = turns[0][0]
    room = max(max_length - (len(ids) - num_prompt), max_length // 4, 1)
    prompt = keep_end(ids[:num_prompt], room, first)
    whole = [*prompt, *ids[num_prompt:]]
    left = whole[:max_length]
    cut: Literal["around", "within"] = "within" if len(whole) - len(left) > 1 else "around"
    return Tokens(left, within(turns, num_prompt - len(prompt), len(left)), cut)


def tokenizer_identity(tokenizer: Any) -> str:
    """The hash of all that turns text into tokens, without the chat template."""
    return sha256_value([tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token, tokenizer.bos_token])
