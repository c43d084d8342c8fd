"""Reads the prompts of a suite from data/eval/SUITE.jsonl and checks each row before a model is loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forgetfilter.config.schema import ROLES
from forgetfilter.data.records import clean
from forgetfilter.errors import UserError

PromptRow = dict[str, Any]  # id, source, messages (turns, the last of them the user's), and what the suite needs


def read_prompts(path: Path, check: Callable[[PromptRow, str], None], prompted: bool = True) -> list[PromptRow]:
    """All rows, with texts that UTF-8 can hold, and with no messages where the suite is not `prompted`.

    UserError names the file, the line and what is wrong.
    """
    rows: list[PromptRow] = []
    seen: set[str] = set()
    try:
        with open(path, encoding="utf-8") as handle:
            for number, line in enumerate(handle, 1):
                if line.strip():
                    rows.append(_row(line, f"{path} line {number}", seen, check, prompted))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: run the mix stage first") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} line {len(rows) + 1}: not UTF-8 ({error.reason})") from error
    if not rows:
        raise UserError(f"{path} holds no prompt: run the mix stage again")
    return rows


def _row(line: str, where: str, seen: set[str], check: Callable[[PromptRow, str], None], prompted: bool) -> PromptRow:
    try:
        row = _cleaned(json.loads(line))
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON ({error.msg})") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: each row must be an object with named fields")
    text(row, "id", where)
    text(row, "source", where)
    if row["id"] in seen:
        raise UserError(f"{where}: the id {row['id'][:12]!r} is there twice; run the mix stage again")
    seen.add(row["id"])
    if prompted:
        _check_messages(row, where)
    else:
        row["messages"] = []
    check(row, where)
    return row


def _check_messages(row: PromptRow, where: str) -> None:
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise UserError(f"{where}: needs messages, a list that ends with the user's turn{_found(row)}")
    for message in messages:
        if (
            not isinstance(message, dict)
            or message.get("role") not in ROLES
            or not isinstance(message.get("content"), str)
        ):
            raise UserError(f"{where}: each message needs a role among {', '.join(ROLES)} and a text as its content")
    if messages[-1]["role"] != "user":
        raise UserError(f"{where}: the last message must be the user's, got {messages[-1]['role']!r}")


def text(row: PromptRow, name: str, where: str) -> str:
    """The value of a field that must be a text and not empty; UserError otherwise."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {name} must be a text that is not empty, got {value!r}{_found(row)}")
    return value


def choice(row: PromptRow, name: str, known: tuple[Any, ...], where: str) -> None:
    """UserError where a field is not one of the known values."""
    if row.get(name) not in known or isinstance(row.get(name), bool):
        raise UserError(
            f"{where}: {name} must be one of {', '.join(map(str, known))}, got {row.get(name)!r}{_found(row)}"
        )


def _found(row: PromptRow) -> str:
    return f"; fields found: {', '.join(sorted(row)) or 'none'}"


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    return value
