"""Messages of the usual chat formats as the project's own: a role and a text each.

The formats are OpenAI's (`role`, `content`, a list of parts, `tool_calls`), ShareGPT's (`from`, `value`), and the
fields that reasoning models add. What belongs to the answer without being text is written into it, so that it is
learned and is part of the id:

- a tool call, as `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` on lines of their own (the form of Hermes
  and Qwen);
- reasoning, as `<think>...</think>` before the answer (the form of DeepSeek and Qwen).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from forgetfilter.config.schema import ROLES
from forgetfilter.data.records import Message, clean
from forgetfilter.data.values import LONGEST, as_text, empty, missing
from forgetfilter.errors import UserError, plain_label

_ROLE_OF = {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "developer": "system",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "ipython": "tool",
} | {role: role for role in ROLES}
_CALLS = ("function_call", "tool_call")  # ShareGPT's roles of a turn that holds only a call
_TEXT_PARTS = ("text", "input_text", "output_text")
_REASONING = ("reasoning_content", "reasoning", "thinking")
# the fields of OpenAI, Axolotl and Swift that say whether a turn is learned
_TRAINED = {"weight", "train", "loss", "training"}
_USED = {"role", "from", "content", "value", "tool_calls", "function_call", "refusal", *_REASONING}


def read_messages(given: Sequence[Any], where: str, left_out: set[str], rewritten: set[str]) -> list[Message]:
    """The messages of a list; the sets get the names of the fields that Told counts."""
    return [_message(message, number, where, left_out, rewritten) for number, message in enumerate(given, 1)]


def message_list(value: Any, where: str) -> Sequence[Any]:
    """A list of at least one message, of whatever form; it may stand as JSON in a text."""
    found = _loaded(value)
    if isinstance(found, Mapping):
        return [found]
    if not isinstance(found, list | tuple) or not found:
        raise UserError(f"{where}: messages must be a list of at least one message")
    return found


def check_learned(messages: list[Message], last: Any, where: str) -> None:
    """Raises UserError where the last message is no answer, or where `last`, its original, says it is not learned."""
    if messages[-1]["role"] != "assistant" or not messages[-1]["content"].strip():
        raise UserError(f"{where}: the last message must be the assistant's and not empty: it is what is learned")
    for name in _TRAINED & last.keys() if isinstance(last, Mapping) else ():
        if last.get(name) is False or str(last.get(name)) in ("0", "0.0"):
            raise UserError(
                f"{where}: the last message has {name} {last[name]}, so it is not to be learned, but it always is: "
                "take the row out, or end it before"
            )


def parsed(value: Any, name: str, where: str) -> Any:
    """The list or object that a text holds as JSON, as in CSV files; any other value unchanged."""
    found = _loaded(value)
    if isinstance(found, str):
        raise UserError(f"{where}: {name} must be a list, or a text that holds one as JSON")
    return found


def _message(message: Any, number: int, where: str, left_out: set[str], rewritten: set[str]) -> Message:
    content = message.get("content") if isinstance(message, dict) and len(message) == 2 else None
    if isinstance(content, str) and message.get("role") in ROLES and len(content) <= LONGEST:  # the usual case, quickly
        return {"role": message["role"], "content": clean(content)}
    name = f"message {number}"
    given = message.get("role", message.get("from")) if isinstance(message, Mapping) else None
    role = _ROLE_OF.get(given.strip().lower()) if isinstance(given, str) else None
    if role is None:
        other = (
            f"; set roles: {{{plain_label(given)}: user}} on this source" if isinstance(given, str) and given else ""
        )
        raise UserError(f"{where}: {name} needs a role among {', '.join(ROLES)} and a content{other}")
    left_out |= {f"{key} of messages" for key, value in message.items() if key not in _USED and not empty(value)}
    parts = [*_reasoning(message, name, where), *_content(message, name, where)]
    calls = _calls(message, name, where)
    if str(given).strip().lower() in _CALLS:
        parts, calls = [], [_call_text(part, name, where) for part in parts] + calls
    if calls:
        rewritten.add("tool_calls")
    if not parts and not calls:
        raise UserError(f"{where}: {name} has no text in its content")
    return {"role": role, "content": "\n".join([part for part in parts if part] + calls)}


def _reasoning(message: Mapping[str, Any], name: str, where: str) -> list[str]:
    """The first field with reasoning in it, if there is one; the empty line parts it from the answer."""
    for key in _REASONING:
        if not empty(message.get(key)) and (text := as_text(message[key], f"{key} of {name}", where)).strip():
            return [f"<think>\n{text.strip()}\n</think>\n"]
    return []


def _content(message: Mapping[str, Any], name: str, where: str) -> list[str]:
    """The texts of the content: one, or one for each part; none where it is missing."""
    value = message.get("content", message.get("value"))
    if missing(value):
        value = message.get("refusal")
    if missing(value):
        return []
    parts = [value] if isinstance(value, Mapping) and "type" in value else value
    if not isinstance(parts, list | tuple):
        return [as_text(parts, f"the content of {name}", where)]
    return [_part(part, name, where) for part in parts]


def _part(part: Any, name: str, where: str) -> str:
    if isinstance(part, str):
        return as_text(part, name, where)
    kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
    if kind == "refusal":
        return as_text(part.get("refusal"), f"the refusal of {name}", where)
    if kind not in _TEXT_PARTS or missing(part.get("text")):
        raise UserError(f"{where}: the content of {name} has a part of type {str(kind)[:40]!r}, which is no text")
    return as_text(part["text"], f"the content of {name}", where)


def _calls(message: Mapping[str, Any], name: str, where: str) -> list[str]:
    calls = [] if empty(message.get("tool_calls")) else parsed(message["tool_calls"], f"tool_calls of {name}", where)
    if not isinstance(calls, list | tuple):
        raise UserError(f"{where}: tool_calls of {name} must be a list")
    older = [] if empty(message.get("function_call")) else [message["function_call"]]
    return [_call_text(call, f"tool_calls of {name}", where) for call in (*calls, *older)]


def _call_text(call: Any, name: str, where: str) -> str:
    """A call as text: its function's name and arguments, which OpenAI writes as JSON in a text."""
    made = _loaded(call)
    function = made.get("function", made) if isinstance(made, Mapping) else made
    if isinstance(function, Mapping) and "name" in function:
        arguments = _loaded(function.get("arguments", function.get("parameters")))
        function = {"name": function["name"], "arguments": {} if missing(arguments) else arguments}
    text = function if isinstance(function, str) else as_text(function, name, where)
    return f"<tool_call>\n{text}\n</tool_call>"


def _loaded(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value
