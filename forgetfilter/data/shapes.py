"""The usual shapes of a row, read as messages; docs/data.md tells what happens to each field.

A shape is recognised by the fields that it needs, and the first shape that fits a row is taken. `system`, `tools` and
`history` belong to the prompt and are put into it. Every other field that holds something is counted as left out.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from forgetfilter.data.messages import check_learned, message_list, parsed, read_messages
from forgetfilter.data.records import Message
from forgetfilter.data.told import Told
from forgetfilter.data.values import LONGEST, as_text, empty, found, missing
from forgetfilter.errors import UserError

Row = Mapping[str, Any]
OTHER_NAMES: dict[tuple[str, ...], dict[str, str]] = {  # of shapes that are not read, with columns that mend it
    ("question", "answer"): {"prompt": "question", "completion": "answer"},
    ("query", "response"): {"prompt": "query", "completion": "response"},
    ("question", "response"): {"prompt": "question", "completion": "response"},
    ("query", "answer"): {"prompt": "query", "completion": "answer"},
    ("instruction", "response"): {"output": "response"},
    ("instruction", "completion"): {"output": "completion"},
    ("prompt", "response"): {"completion": "response"},
    ("prompt", "answer"): {"completion": "answer"},
    ("prompt", "output"): {"completion": "output"},
    ("prompt", "chosen"): {"completion": "chosen"},
    ("input", "output"): {"prompt": "input", "completion": "output"},
    ("inputs", "targets"): {"prompt": "inputs", "completion": "targets"},
    ("content",): {"text": "content"},
}
_KNOWN = ("source", "label")  # read by the mix stage
_SYSTEM = ("system", "system_prompt")
_TOOLS = ("tools", "functions")


class _Reading:
    """One row while it is read: which of its fields are used, and what is told of the others."""

    def __init__(self, row: Row, where: str):
        self.row, self.where = row, where
        self.used, self.left_out, self.rewritten = set(_KNOWN), set[str](), set[str]()
        self.last: Any = None

    def text(self, name: str) -> str:
        """The text of a field; "" where it is missing."""
        self.used.add(name)
        value = self.row.get(name)
        if missing(value):
            return ""
        if not isinstance(value, str):
            self.rewritten.add(name)
        return as_text(value, name, self.where)

    def messages(self, name: str) -> list[Message]:
        """The messages of a field; the original of the last one is noted."""
        self.used.add(name)
        given = message_list(self.row[name], self.where)
        self.last = given[-1]
        return read_messages(given, self.where, self.left_out, self.rewritten)

    def framed(self, turns: list[Message]) -> list[Message]:
        """The turns behind the system text and the tools of the row."""
        system = [text for name in _SYSTEM if name in self.row and (text := self.text(name))]
        own = [turns[0]["content"]] if turns[0]["role"] == "system" else []
        if len({*system, *filter(None, own)}) > 1:
            raise UserError(f"{self.where}: has several system texts that differ; leave one")
        tools = [_tools_text(self.row, name, self.where) for name in self._tools()]
        if not system and not tools:
            return turns
        texts = [*(system[:1] or filter(None, own)), *tools]
        return [{"role": "system", "content": "\n\n".join(texts)}, *turns[len(own) :]]

    def _tools(self) -> list[str]:
        there = [
            name
            for name in _TOOLS
            if name in self.row and not empty(self.row.get(name)) and self.row[name] not in ("[]", "{}")
        ]
        self.used |= {*there}
        self.rewritten |= {*there}
        return there

    def history(self) -> list[Message]:
        """Earlier turns: a list of pairs of question and answer, or of messages."""
        self.used.add("history")
        if empty(self.row.get("history")):
            return []
        earlier = parsed(self.row["history"], "history", self.where)
        if isinstance(earlier, list | tuple) and all(isinstance(turn, Mapping) for turn in earlier):
            return read_messages(earlier, self.where, self.left_out, self.rewritten)
        if not isinstance(earlier, list | tuple) or not all(_is_pair(pair) for pair in earlier):
            raise UserError(f"{self.where}: history must be a list of pairs of a question and an answer")
        return [turn for pair in earlier for turn in _turns(*(as_text(t, "history", self.where) for t in pair))]

    def tell(self, told: Told) -> None:
        rest = {str(name) for name, value in self.row.items() if name not in self.used and not empty(value)}
        told.add(rest | self.left_out, self.rewritten)


def to_messages(row: Row, where: str, told: Told | None = None) -> list[Message]:
    """The messages of a row in one of the usual shapes; the last one is the answer, which is what is learned.

    `where` names the file and row for the error, which lists the fields that were found. `told` counts what else the
    row holds.
    """
    reading = _Reading(row, where)
    messages = _shape_of(row, where)(reading)
    check_learned(messages, reading.last, where)
    if (length := sum(len(message["content"]) for message in messages)) > LONGEST:
        raise UserError(f"{where}: has {length} characters, at most {LONGEST} can be learned: split it")
    if told is not None:
        reading.tell(told)
    return messages


def read_shape(row: Row, where: str) -> list[Message]:
    """The messages of a row in one of the usual shapes, whatever the last one is; a prompt needs no answer."""
    return _shape_of(row, where)(_Reading(row, where))


def shape_fields(row: Row) -> tuple[str, ...]:
    """The fields by which a row's shape is recognised; empty where it has none of the usual shapes."""
    return _holding(row, _SHAPES) or ()


def columns_for(row: Row) -> dict[str, str]:
    """The setting `columns` that would give a row one of the usual shapes; empty where none is known.

    Of a pair of answers, as preferences have them, the chosen one is taken: a whole chat, the answer to a prompt, or a
    text.
    """
    if "chosen" in row and not missing(row["chosen"]):
        first = row["chosen"][0] if isinstance(row["chosen"], list) and row["chosen"] else None
        whole = isinstance(first, Mapping) and first.get("role", first.get("from")) not in ("assistant", "gpt")
        if whole or missing(row.get("prompt")):
            return {"messages" if isinstance(row["chosen"], list) else "text": "chosen"}
    return OTHER_NAMES[names] if (names := _holding(row, OTHER_NAMES)) else {}


def _holding(row: Row, known: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """The first of the known groups of fields of which a row has every value."""
    return next((names for names in known if not any(missing(row.get(name)) for name in names)), None)


def _shape_of(row: Row, where: str) -> Callable[[_Reading], list[Message]]:
    if needs := shape_fields(row):
        return _SHAPES[needs]
    lacking = sorted({name for needs in _SHAPES for name in needs if name in row and missing(row[name])})
    nothing = f" ({', '.join(lacking)} without a value)" if lacking else ""
    columns = ", ".join(f"{wanted}: {name}" for wanted, name in columns_for(row).items())
    hint = f"; set columns: {{{columns}}} on this source to name them" if columns else ""
    raise UserError(
        f"{where}: needs messages, or conversations, or prompt and completion, or instruction and output, or text"
        f"{nothing}{hint}; fields found: {found(row)}"
    )


def _chat(name: str) -> Callable[[_Reading], list[Message]]:
    return lambda reading: reading.framed(reading.messages(name))


def _pair(reading: _Reading) -> list[Message]:
    """prompt and completion: texts, or the conversational form, in which each may be a list of messages."""
    asked = reading.messages("prompt") if _is_chat(reading.row["prompt"]) else _asked(reading.text("prompt"))
    reading.last = None
    if _is_chat(reading.row["completion"]):
        answered = reading.messages("completion")
    else:
        answered = [{"role": "assistant", "content": reading.text("completion")}]
    return reading.framed([*reading.history(), *asked, *answered])


def _alpaca(reading: _Reading) -> list[Message]:
    extra = reading.text("input")
    instruction = reading.text("instruction")
    turns = _turns(f"{instruction}\n\n{extra}" if extra else instruction, reading.text("output"))
    return reading.framed([*reading.history(), *turns])


def _plain(reading: _Reading) -> list[Message]:
    return [{"role": "assistant", "content": reading.text("text")}]


_SHAPES: dict[tuple[str, ...], Callable[[_Reading], list[Message]]] = {
    ("messages",): _chat("messages"),
    ("conversations",): _chat("conversations"),
    ("conversation",): _chat("conversation"),
    ("prompt", "completion"): _pair,
    ("instruction", "output"): _alpaca,
    ("text",): _plain,
}


SHAPED = (
    "prompt",
    "instruction",
    *(needs[0] for needs in _SHAPES if len(needs) == 1),
)  # a prompt is recognised by one of them


def _asked(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def _turns(prompt: str, answer: str) -> list[Message]:
    return [*_asked(prompt), {"role": "assistant", "content": answer}]


def _is_chat(value: Any) -> bool:
    """Whether a value is a message or a list of them, and no other object or list."""
    return isinstance(value, list | Mapping) and any(
        isinstance(part, Mapping) and ("role" in part or "from" in part)
        for part in (value if isinstance(value, list) else [value])
    )


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and not any(map(missing, value))


def _tools_text(row: Row, name: str, where: str) -> str:
    return f"# Tools\n<tools>\n{as_text(row[name], name, where)}\n</tools>"
