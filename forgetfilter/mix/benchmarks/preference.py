"""Preference pairs such as hh-rlhf: the rejected dialogue is unsafe, the chosen one safe.

A noisy label: rejected is the worse of two answers, not always a harmful one.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from forgetfilter.data.records import Message
from forgetfilter.mix.benchmarks.candidates import Candidate, Rows, Skips, settings, text

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
COLUMNS = {"rejected": "unsafe", "chosen": "safe"}


def build(rows: Rows, options: Mapping[str, Any], key: str, skipped: Skips) -> Iterator[Candidate]:
    """Both dialogues of a row, in one group: its first question. No options."""
    settings(options, {}, key)
    for where, row in rows:
        for column, label in COLUMNS.items():
            messages = dialogue(text(row, column, where))
            if messages is None:
                skipped[f"{column}: no dialogue that ends with an answer"] += 1
                continue
            prompt = {"messages": messages[:-1]} if label == "unsafe" else None
            yield Candidate(messages, label, messages[0]["content"].lower(), prompt)


def dialogue(text: str) -> list[Message] | None:
    """The messages of "\\n\\nHuman: ...\\n\\nAssistant: ..."; None unless it goes from a question to an answer.

    Turns of one speaker in a row are joined, since chat templates want the roles to take turns.
    """
    parts = _TURN.split("\n\n" + text.strip())
    messages: list[Message] = []
    for role, content in zip(parts[1::2], (part.strip() for part in parts[2::2])):
        if messages and messages[-1]["role"] == _ROLES[role]:
            messages[-1]["content"] = f"{messages[-1]['content']}\n\n{content}".strip()
        else:
            messages.append({"role": _ROLES[role], "content": content})
    if len(messages) < 2 or messages[0]["role"] != "user" or messages[-1]["role"] != "assistant":
        return None
    return messages if all(message["content"] for message in messages) else None
