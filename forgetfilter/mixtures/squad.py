"""SQuAD v1.1 (Rajpurkar et al. 2016) as a task: context and question in, the answer's text out."""

from collections.abc import Iterator, Mapping
from typing import Any

from forgetfilter.errors import UserError
from forgetfilter.files import sha256_value
from forgetfilter.mixtures.candidates import Candidate, Rows, Skips, field, settings, turns


def build(rows: Rows, options: Mapping[str, Any], key: str, skipped: Skips) -> Iterator[Candidate]:
    """Task examples, grouped by context. Rows without an answer (as in version 2) are skipped. No options."""
    settings(options, {}, key)
    for where, row in rows:
        answer = first_answer(field(row, "answers", where), where)
        if not answer:
            skipped["no answer"] += 1
            continue
        context, question = str(field(row, "context", where)).strip(), str(field(row, "question", where)).strip()
        messages = turns(f"{context}\n\n{question}", answer)
        prompt = {"messages": messages[:1], "reference": answer, "metric": "exact"}
        yield Candidate(messages, "task", sha256_value(context), prompt)


def first_answer(answers: Any, where: str) -> str:
    """The first answer, of a list of {"text": ...} or the hub's {"text": [...]}; "" where there is none."""
    if isinstance(answers, Mapping):
        texts = answers.get("text")
    elif isinstance(answers, list):
        texts = [answer.get("text") if isinstance(answer, Mapping) else None for answer in answers]
    else:
        texts = None
    if not isinstance(texts, list) or any(not isinstance(text, str) for text in texts):
        raise UserError(f"{where}: answers must be a list of objects with 'text', or an object with a list 'text'")
    return texts[0].strip() if texts else ""
