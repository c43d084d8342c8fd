"""HarmfulQA (declare-lab): answers of its red conversations are unsafe, those of its blue ones safe.

As in the paper's code, the last two exchanges of the first conversation are taken, and the prompt of each is the base
question followed by the human turn.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from forgetfilter.errors import UserError
from forgetfilter.mix.benchmarks.candidates import Candidate, Rows, Skips, field, settings, text, turns

EXCHANGES = 2
COLOURS = {"red_conversations": "unsafe", "blue_conversations": "safe"}


def build(rows: Rows, options: Mapping[str, Any], key: str, skipped: Skips) -> Iterator[Candidate]:
    """Up to two unsafe and two safe examples a row, all of one group: the question. No options."""
    settings(options, {}, key)
    for where, row in rows:
        question = text(row, "question", where).strip()
        if all(row.get(column) is None for column in COLOURS):
            field(row, "red_conversations", where)  # raises, naming the fields that are there
        for column, label in COLOURS.items():
            found = exchanges(row.get(column), f"{where}: {column}")[-EXCHANGES:]
            if not found:
                skipped[f"no conversation in {column}"] += 1
            # One prompt a question is enough to measure with; the plain question is what a user would ask.
            prompt = {"messages": [{"role": "user", "content": question}]} if label == "unsafe" else None
            for human, answer in found:
                yield Candidate(turns(f"{question}\n\n{human}", answer), label, question.lower(), prompt)


def exchanges(conversations: Any, where: str) -> list[tuple[str, str]]:
    """(human, gpt) pairs of the first conversation present; conversations is a mapping "0".."4": list of turns."""
    if conversations is None:
        return []
    if not isinstance(conversations, Mapping):
        raise UserError(f"{where} must be a mapping of conversations")
    present = [conversations[number] for number in sorted(conversations, key=str) if conversations[number]]
    if not present:
        return []
    try:
        said = [(turn["from"], text(turn, "value", where).strip()) for turn in present[0]]
    except (TypeError, KeyError) as error:
        raise UserError(f"{where} must hold lists of turns with 'from' and 'value'") from error
    pairs = itertools.pairwise(said)
    return [(a[1], b[1]) for a, b in pairs if a[0] == "human" and b[0] == "gpt" and a[1] and b[1]]
