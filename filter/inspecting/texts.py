"""The texts of an example as people see them: masked unless they ask, since texts may be offensive or harmful."""

from collections.abc import Sequence
from typing import Any

HINT = "Texts are masked, for they may be offensive or harmful: --reveal shows them."


def prompt_of(messages: Sequence[dict[str, Any]]) -> str:
    """The messages before the answer: a single one as it is, several with their roles."""
    before = messages[:-1]
    if len(before) == 1:
        return str(before[0]["content"])
    return " ".join(f"{message['role']}: {message['content']}" for message in before)


def shown(text: str, limit: int, reveal: bool) -> str:
    """A text on one line, at most `limit` characters of it; unless `reveal`, only how long it is."""
    words = text.split()
    if reveal:
        return " ".join(words)[:limit]
    return f"masked ({len(words):,} word{'s' * (len(words) != 1)})" if words else ""
