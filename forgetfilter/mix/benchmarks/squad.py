"""SQuAD v1.1 (Rajpurkar et al. 2016) as a task: context and question in, the answer's text out."""

from collections.abc import Iterator, Mapping
from typing import Any

from forgetfilter.data.records import clean
from forgetfilter.errors import UserError
from forgetfilter.files import sha256_value
from forgetfilter.mix.benchmarks.candidates import Candidate, Rows, Skips, field, settings, text, turns


def build(rows: Rows, options: Mapping[str, Any], key: str, skipped: Skips) -> Iterator[Candidate]:
    """Task examples, grouped by context. Rows without an answer (as in version 2) are skipped. No options."""
    settings(options, {}, key)
    for where, row in rows:
        asked = prompt(row, where)
        if not asked["reference"]:
            skipped["no answer"] += 1
            continue
        messages = [*asked["messages"], {"role": "assistant", "content": asked["reference"]}]
        yield Candidate(messages, "task", sha256_value(text(row, "context", where).strip()), asked)


def prompt(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The prompt row of suite task: its answers, the first one as the reference (empty where there is none)."""
    answers = all_answers(field(row, "answers", where), where)
    context, question = text(row, "context", where).strip(), text(row, "question", where).strip()
    reference = answers[0] if answers else ""
    messages = turns(f"{context}\n\n{question}", reference)[:1]
    return {"messages": messages, "reference": reference, "references": answers, "metric": "squad"}


def all_answers(answers: Any, where: str) -> list[str]:
    """The different answers, of a list of {"text": ...} or the hub's {"text": [...]}, in their order."""
    if isinstance(answers, Mapping):
        texts = answers.get("text")
    elif isinstance(answers, list):
        texts = [answer.get("text") if isinstance(answer, Mapping) else None for answer in answers]
    else:
        texts = None
    if not isinstance(texts, list) or any(not isinstance(answer, str) for answer in texts):
        raise UserError(f"{where}: answers must be a list of objects with 'text', or an object with a list 'text'")
    return list(dict.fromkeys(clean(answer).strip() for answer in texts if answer.strip()))
