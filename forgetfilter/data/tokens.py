"""Records to tokens: chat template, prompt masked, EOS learned, too-long rows cut by a stated rule, cached once."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from forgetfilter.data.kept_turns import KEY, check_answer, check_turns, holds_system
from forgetfilter.data.records import Message, Record, clean, read_records
from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path, locked, read_json, sha256_file, sha256_value, write_json

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("num_prompt", pa.int32()),  # leading tokens that are not learned
    ]
)
STAND_IN = "Answer4f2a"  # in the place of an answer, to see what a template writes after it
FOLLOWING = "A"  # in the place of an answer's first word, to see which tokens are the prompt's
CHUNK = 1024  # records tokenised and written together
CODE_VERSION = 2  # raise it when the tokens of an unchanged record change


@dataclass(frozen=True)
class Rendered:
    """An example as one text, as the model reads it."""

    text: str
    start: int
    """The first character that is learned; all before it is the prompt."""
    ends: bool
    """Whether the text ends with its end token; otherwise the tokenizer's EOS follows it."""
    plain: bool
    """Whether no chat template made it, so that the tokenizer puts its own first token (BOS) before it."""


def render(tokenizer: Any, messages: list[Message]) -> Rendered:
    """The whole example up to where the model has to stop. What is learned begins where the answer does.

    The end of an answer is where the template's own text after it begins, never where the answer mentions an end
    token: what follows a stand-in for the answer is what follows every answer. Its first special token (`<|im_end|>`,
    `<|eot_id|>`, `</s>`, ...) ends the turn, and is learned; without one EOS is. Plain text (one assistant message) has
    no prompt and no template. Without a chat template the turns are joined by blank lines.
    """
    prompt, answer = messages[:-1], messages[-1]["content"]
    if not prompt:
        return Rendered(answer, 0, ends=False, plain=True)
    if not tokenizer.chat_template:
        text = prompt_text(tokenizer, prompt)
        return Rendered(text + answer, len(text), ends=False, plain=True)
    text = _apply(tokenizer, prompt, add_generation_prompt=True)
    _, after = _around_the_answer(tokenizer, prompt, text)
    check_turns(text, prompt)
    whole = _apply(tokenizer, messages)
    if not whole.startswith(text):
        raise UserError(f"{KEY}: it renders the prompt otherwise once the answer follows")
    if not whole.endswith(after):
        raise UserError(f"{KEY}: what follows an answer depends on the answer, so where it ends cannot be told")
    body = whole[: len(whole) - len(after)]
    check_answer(body[len(text) :], answer)
    if end := _first_special(tokenizer, after):
        return Rendered(body + after[: after.index(end) + len(end)], len(text), ends=True, plain=False)
    return Rendered(body + after.rstrip(), len(text), ends=False, plain=False)


def _around_the_answer(tokenizer: Any, prompt: list[Message], text: str) -> tuple[str, str]:
    """What the template writes before and after an answer to this prompt. UserError where it leaves the answer out."""
    whole = _apply(tokenizer, [*prompt, {"role": "assistant", "content": STAND_IN}])
    if not whole.startswith(text):
        raise UserError(f"{KEY}: it renders the prompt otherwise once the answer follows")
    before, found, after = whole[len(text) :].rpartition(STAND_IN)
    if not found:
        raise UserError(f"{KEY}: it leaves out the answer, so nothing could be learned")
    return before, after


def _first_special(tokenizer: Any, text: str) -> str | None:
    """The special token that comes first in a text."""
    found = [(text.index(token), -len(token), token) for token in _special_tokens(tokenizer) if token in text]
    return min(found)[-1] if found else None


@functools.lru_cache(maxsize=8)
def _special_tokens(tokenizer: Any) -> frozenset[str]:
    return frozenset(str(token) for token in tokenizer.added_tokens_decoder.values() if token.special and str(token))


def learned_end(tokenizer: Any) -> int:
    """The token with which a chat's answers end, and which is learned: the template's end of turn, else EOS."""
    _, after = _around_any_answer(tokenizer)
    end = _first_special(tokenizer, after)
    return int(tokenizer.eos_token_id if end is None else tokenizer.convert_tokens_to_ids(end))


def learned_opening(tokenizer: Any) -> str:
    """What the template writes before every answer, and is learned with it: Llama 2's blank, Qwen 3's empty thought."""
    before, _ = _around_any_answer(tokenizer)
    return before


def _around_any_answer(tokenizer: Any) -> tuple[str, str]:
    """As `_around_the_answer`, of a plain question; nothing without a template."""
    if not tokenizer.chat_template:
        return "", ""
    prompt: list[Message] = [{"role": "user", "content": "a"}]
    return _around_the_answer(tokenizer, prompt, prompt_text(tokenizer, prompt))


def check_template(tokenizer: Any, system_prompt: str) -> None:
    """UserError where the template takes no question with its answer, or not the system prompt of the evaluation."""
    chat: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    render(tokenizer, chat)
    if system_prompt:
        asked: list[Message] = [{"role": "system", "content": system_prompt}, *chat[:1]]
        try:
            text = prompt_text(tokenizer, asked)
        except UserError as error:
            raise UserError(f"eval.system_prompt: the model's chat template does not take it ({error})") from error
        if not holds_system(text, asked):
            raise UserError("eval.system_prompt: the model's chat template leaves it out, so it would change nothing")


def prompt_text(tokenizer: Any, prompt: list[Message]) -> str:
    """What the model is given to answer. UserError where the template leaves out a turn that is no system turn."""
    if not tokenizer.chat_template:
        return "".join(message["content"] + "\n\n" for message in prompt)
    text = _apply(tokenizer, prompt, add_generation_prompt=True)
    check_turns(text, prompt)
    return text


def _apply(tokenizer: Any, messages: list[Message], **options: bool) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))
    except Exception as error:  # whatever a Jinja template raises
        raise UserError(f"{KEY}: it fails ({(str(error) or type(error).__name__).splitlines()[0]})") from error


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

    Too long: the prompt loses its beginning (but not BOS) down to a quarter of `max_length`, then the answer its end
    (with its end token). At least one token stands before the answer, so that its first token has a prediction.
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
    """Tokens of a text that end before its character `start`; characters that became no token are passed over."""
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
    """The token ids of prompts as an answer follows them: those that `encode` has before the answer."""
    return [ids for ids, _ in split_prompts(tokenizer, texts)]


def split_prompts(tokenizer: Any, texts: Sequence[str]) -> list[tuple[list[int], str]]:
    """(token ids, left) of prompts as an answer follows them.

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
    """At most `room` tokens: the last ones, after the first tokens (BOS) where these opened the whole."""
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
    """The hash of what turns text into tokens, without the chat template."""
    return sha256_value([tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token, tokenizer.bos_token])


@dataclass(frozen=True)
class Prepared:
    """A tokenised data set on disk, memory-mapped. Row i of everything is the i-th record of the data file."""

    path: Path
    identity: str
    summary: dict[str, int]

    def __post_init__(self) -> None:
        table = pa.ipc.open_file(pa.memory_map(str(self.path))).read_all()
        object.__setattr__(self, "_table", table)

    @property
    def table(self) -> pa.Table:
        table: pa.Table = self._table  # type: ignore[attr-defined]
        return table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def lengths(self) -> np.ndarray[Any, Any]:
        """Tokens a row, int64 [rows]."""
        return np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in self.table["input_ids"].chunks]).astype(
            np.int64
        )

    def num_labels(self) -> np.ndarray[Any, Any]:
        """Label tokens a row, int64 [rows]."""
        labels: np.ndarray[Any, Any] = self.lengths() - self.table["num_prompt"].to_numpy()
        return labels

    def row(self, index: int) -> tuple[np.ndarray[Any, Any], int]:
        """(input_ids int32 [tokens], num_prompt) of a row."""
        return self.table["input_ids"][index].values.to_numpy(), self.table["num_prompt"][index].as_py()


def prepare(data: Path, tokenizer: Any, max_length: int, cache: Path) -> Prepared:
    """Tokenises a data file once, into a content-addressed cache: to be called before anything distributed starts.

    Rows are cut to `max_length` tokens, or to the model's context where that is shorter.
    """
    max_length = longest(tokenizer, max_length)
    identity = sha256_value(
        [CODE_VERSION, sha256_file(data), tokenizer_identity(tokenizer), tokenizer.chat_template, max_length]
    )
    folder = cache / "prepared" / identity[:32]
    with locked(folder):
        if not (folder / "summary.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            summary = _write(data, tokenizer, max_length, folder / "data.arrow")
            write_json(folder / "summary.json", summary)
    summary = read_json(folder / "summary.json")
    if not summary["rows"]:
        raise UserError(f"{data} holds no example")
    return Prepared(folder / "data.arrow", identity, summary)


def longest(tokenizer: Any, max_length: int) -> int:
    """The most tokens of a row; model_max_length is the model's context, since models.loading sets it so."""
    return int(min(max_length, tokenizer.model_max_length))


def _write(data: Path, tokenizer: Any, max_length: int, path: Path) -> dict[str, int]:
    summary = {"rows": 0, "cut": 0, "tokens": 0, "label_tokens": 0, "system_left_out": 0}
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), SCHEMA) as writer:
        for chunk in _chunks(read_records(data)):
            try:
                encoded = encode(tokenizer, [record.messages for record in chunk], max_length)
            except UserError as error:
                raise _of_a_row(error, chunk, tokenizer, data, summary["rows"]) from error
            columns = [
                [record.id for record in chunk],
                [record.source for record in chunk],
                [ids for ids, _, _ in encoded],
                [num_prompt for _, num_prompt, _ in encoded],
            ]
            writer.write_batch(pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, SCHEMA)], schema=SCHEMA))
            summary["rows"] += len(chunk)
            summary["cut"] += sum(cut for _, _, cut in encoded)
            summary["tokens"] += sum(len(ids) for ids, _, _ in encoded)
            summary["system_left_out"] += sum(_leaves_out_system(tokenizer, record.prompt) for record in chunk)
            summary["label_tokens"] += sum(len(ids) - num_prompt for ids, num_prompt, _ in encoded)
    return summary


def _leaves_out_system(tokenizer: Any, prompt: list[Message]) -> bool:
    asked = any(message["role"] == "system" for message in prompt)
    return asked and not holds_system(prompt_text(tokenizer, prompt), prompt)


def _of_a_row(error: UserError, chunk: list[Record], tokenizer: Any, data: Path, before: int) -> UserError:
    """The template's error with the row that it does not take."""
    for number, record in enumerate(chunk, before + 1):
        try:
            render(tokenizer, record.messages)
        except UserError as own:
            return UserError(f"{data} line {number} (source {record.source}): {own}")
    return error


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
