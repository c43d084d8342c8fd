"""Evaluation prompts: {"id", "source", "messages"} and what the suite needs; and their making from user rows.

bias: choices, gold, unknown, stereotyped, polarity, condition, category. task: reference and metric. over_refusal:
label (safe or unsafe, of the prompt) and type. crows_pairs: sent_more, sent_less, bias_type, and no turns. toxicity
and harmfulness: nothing more.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from forgetfilter.data.messages import parsed
from forgetfilter.data.records import Message, make_records
from forgetfilter.data.shapes import SHAPED, read_shape
from forgetfilter.data.sources import Row
from forgetfilter.data.values import found, missing
from forgetfilter.errors import UserError, check_choice
from forgetfilter.mix.benchmarks import bbq, instruction, squad, toxicity
from forgetfilter.mix.benchmarks.candidates import field, text

Prompt = dict[str, Any]
ASKED = ("goal", "Behavior", "question", "instructions")  # AdvBench, HarmBench, HarmfulQA, I-MaliciousInstructions


def with_ids(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Prompt]:
    """Prompts of (source, row): the id is the content hash of the messages, or of the sentences that stand alone;
    duplicates are numbered."""
    pairs = list(rows)
    records = make_records((row["messages"] or _alone(row), source, None) for source, row in pairs)
    return [{"id": record.id, "source": record.source, **row} for record, (_, row) in zip(records, pairs)]


def plain_prompt(row: Row, where: str) -> Prompt:
    """The turns of a user's row in one of the usual shapes, up to the user's last: an answer in the row is left out."""
    return {"messages": _prompt_and_answer(row, where)[0]}


def toxicity_prompt(row: Row, where: str) -> Prompt:
    """Like plain_prompt, but only the first three words of a plain `text`."""
    return {"messages": _prompt_and_answer(row, where, first_words=True)[0]}


def task_prompt(row: Row, where: str) -> Prompt:
    """A row of SQuAD, or of one of the usual shapes; its `reference`, or else its answer, is the reference."""
    if not missing(row.get("context")) and not missing(row.get("answers")):
        return squad.prompt(row, where)
    messages, answer = _prompt_and_answer(row, where)
    answer = text(row, "reference", where, answer)
    if not answer.strip():
        raise UserError(f"{where}: suite task needs a reference, or an answer in the row, to compare with")
    metric = text(row, "metric", where, "") or "auto"
    check_choice(f"{where}: metric", metric, instruction.METRICS)
    return {"messages": messages, **instruction.reference(answer, metric)}


def over_refusal_prompt(row: Row, where: str) -> Prompt:
    """Like plain_prompt, with XSTest's label and type."""
    messages, _ = _prompt_and_answer(row, where)
    return {"messages": messages, "label": _label(row, where), "type": text(row, "type", where, "")}


def crows_pairs_prompt(row: Row, where: str) -> Prompt:
    """Two sentences that stand alone, without turns."""
    return {"messages": [], **{name: text(row, name, where) for name in ("sent_more", "sent_less", "bias_type")}}


def _alone(row: Mapping[str, Any]) -> list[Message]:
    """The turns of a row without turns: its two sentences, or all that it holds."""
    if "sent_more" in row:
        return [{"role": "user", "content": row["sent_more"]}, {"role": "assistant", "content": row["sent_less"]}]
    return [{"role": "user", "content": json.dumps(row, sort_keys=True, ensure_ascii=False)}]


def _label(row: Row, where: str) -> str:
    label = text(row, "label", where).lower()
    if label not in ("safe", "unsafe"):
        raise UserError(f"{where}: label must say whether the prompt is safe or unsafe, got {label[:40]!r}")
    return label


def bias_prompt(row: Row, where: str) -> Prompt:
    """A row of BBQ as published, or one in the project's own shape, which names the answers."""
    if not missing(row.get("answer_info")):
        return bbq.evaluation_row(row, where)
    messages, _ = _prompt_and_answer(row, where)
    given = parsed(field(row, "choices", where), "choices", where)
    if not isinstance(given, list) or len(given) != 3:
        raise UserError(f"{where}: choices must be a list of three answers")
    choices = [text({"choices": choice}, "choices", where) for choice in given]
    indices = {name: field(row, name, where) for name in ("gold", "unknown", "stereotyped")}
    for name, value in indices.items():
        if value not in (0, 1, 2) or isinstance(value, bool):
            raise UserError(f"{where}: {name} must be the index of a choice, 0 to 2, got {value!r}")
    words = {"polarity": ("neg", "nonneg"), "condition": ("ambig", "disambig")}
    for name, known in words.items():
        if field(row, name, where) not in known:
            raise UserError(f"{where}: {name} must be {' or '.join(known)}, got {row[name]!r}")
    kept = {name: row[name] for name in words}
    return {"messages": messages, "choices": choices, **indices, **kept, "category": text(row, "category", where, "")}


def _prompt_and_answer(row: Row, where: str, first_words: bool = False) -> tuple[list[Message], str]:
    """(turns up to the last user's, the answer after it or ""); `first_words`: a text is asked by its first three."""
    if isinstance(row.get("prompt"), Mapping) and "text" in row["prompt"]:  # RealToxicityPrompts
        return _asked(text(row["prompt"], "text", where, ""), where), ""
    given = {name: value for name, value in row.items() if not missing(value)}
    if not any(name in given for name in SHAPED):
        return _published(row, where), ""
    turns = read_shape({"completion": "", "output": "", **given}, where)
    if first_words and turns[0]["role"] == "assistant" and (parts := toxicity.split_prompt(turns[0]["content"])):
        return _asked(parts[0], where), parts[1]
    if "text" in given and len(turns) == 1:
        return _asked(turns[0]["content"], where), ""
    answer = turns.pop()["content"] if turns[-1]["role"] == "assistant" else ""
    if not turns or turns[-1]["role"] != "user":
        raise UserError(f"{where}: the last turn to be answered must be the user's")
    if not turns[-1]["content"].strip():
        raise UserError(f"{where}: the prompt is empty")
    return turns, answer


def _published(row: Row, where: str) -> list[Message]:
    """The turn of a row of AdvBench, HarmBench, HarmfulQA or I-MaliciousInstructions."""
    for name in ASKED:
        if not missing(row.get(name)):
            context = text(row, "ContextString", where, "")  # HarmBench's contextual behaviours, in its own wording
            asked = text(row, name, where)
            return _asked(f"{context}\n\n---\n\n{asked}" if context else asked, where)
    needs = f"messages, prompt, instruction, text, {', '.join(ASKED)}"
    raise UserError(f"{where}: a prompt needs one of {needs}; fields found: {found(row)}")


def _asked(prompt: str, where: str) -> list[Message]:
    if not prompt.strip():
        raise UserError(f"{where}: the prompt is empty")
    return [{"role": "user", "content": prompt}]
