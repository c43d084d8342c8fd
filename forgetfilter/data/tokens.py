"""Records to tokens: chat template, prompt masked, EOS learned, too-long rows cut by a stated rule, cached once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from forgetfilter.data.records import Message, Record, read_records
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
CHUNK = 1024  # records tokenised and written together
CODE_VERSION = 1  # raise it when the tokens of an unchanged record change


def render(tokenizer: Any, messages: list[Message]) -> tuple[str, str]:
    """The prompt's and the answer's text. The answer ends where the model has to stop (EOS is added as a token).

    Plain text (one assistant message) has an empty prompt and no template. Without a chat template the turns are
    joined by blank lines.
    """
    prompt, answer = messages[:-1], messages[-1]["content"]
    if not prompt:
        return "", answer
    if not tokenizer.chat_template:
        return "".join(message["content"] + "\n\n" for message in prompt), answer
    text = prompt_text(tokenizer, prompt)
    whole = _apply(tokenizer, messages)
    if not whole.startswith(text):
        raise UserError("model.chat_template: it renders the prompt otherwise once the answer follows")
    rest = whole[len(text) :]
    end = rest.rfind(tokenizer.eos_token)
    return text, rest[:end] if end >= 0 else rest


def prompt_text(tokenizer: Any, prompt: list[Message]) -> str:
    """What the model is given to answer."""
    if not tokenizer.chat_template:
        return "".join(message["content"] + "\n\n" for message in prompt)
    return _apply(tokenizer, prompt, add_generation_prompt=True)


def _apply(tokenizer: Any, messages: list[Message], **options: bool) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))
    except Exception as error:  # whatever a Jinja template raises
        raise UserError(
            f"model.chat_template: it fails ({(str(error) or type(error).__name__).splitlines()[0]})"
        ) from error


def encode(tokenizer: Any, messages: list[list[Message]], max_length: int) -> list[tuple[list[int], int, bool]]:
    """(input_ids, num_prompt, cut) of each example; answers end with EOS, which is learned.

    Too long: the prompt loses its beginning down to a quarter of `max_length`, then the answer its end (with its
    EOS). At least one token stands before the answer, so that its first token has a prediction.
    """
    prompts, answers = zip(*(render(tokenizer, m) for m in messages))
    prompt_ids = (
        tokenizer(list(prompts), add_special_tokens=False)["input_ids"] if any(prompts) else [[]] * len(prompts)
    )
    answer_ids = tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [_join(list(p) or [start], [*a, tokenizer.eos_token_id], max_length) for p, a in zip(prompt_ids, answer_ids)]


def _join(prompt: list[int], answer: list[int], max_length: int) -> tuple[list[int], int, bool]:
    if len(prompt) + len(answer) <= max_length:
        return prompt + answer, len(prompt), False
    room = max(max_length - len(answer), max_length // 4, 1)
    prompt = prompt[-room:]
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
    """Tokenises a data file once, into a content-addressed cache: to be called before anything distributed starts."""
    identity = sha256_value(
        [CODE_VERSION, sha256_file(data), tokenizer_identity(tokenizer), tokenizer.chat_template, max_length]
    )
    folder = cache / "prepared" / identity[:32]
    with locked(folder):
        if not (folder / "summary.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            summary = _write(read_records(data), tokenizer, max_length, folder / "data.arrow")
            write_json(folder / "summary.json", summary)
    summary = read_json(folder / "summary.json")
    if not summary["rows"]:
        raise UserError(f"{data} holds no example")
    return Prepared(folder / "data.arrow", identity, summary)


def _write(records: Iterable[Record], tokenizer: Any, max_length: int, path: Path) -> dict[str, int]:
    summary = {"rows": 0, "cut": 0, "tokens": 0, "label_tokens": 0}
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), SCHEMA) as writer:
        for chunk in _chunks(records):
            encoded = encode(tokenizer, [record.messages for record in chunk], max_length)
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
            summary["label_tokens"] += sum(len(ids) - num_prompt for ids, num_prompt, _ in encoded)
    return summary


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
