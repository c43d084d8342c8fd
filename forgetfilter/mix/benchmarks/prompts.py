"""Evaluation prompts: {"id", "source", "messages"} and what the suite needs; and their making from user rows.

bias: choices, gold, unknown, stereotyped, polarity, condition, category. task: reference and metric. over_refusal:
label (safe or unsafe, of the prompt) and type. crows_pairs: sent_more, sent_less, bias_type, and no turns. toxicity
and harmfulness: nothing more.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from forgetfilter.data.records import ROLES, Message, make_records
from forgetfilter.data.sources import Row
from forgetfilter.errors import UserError, nearest
from forgetfilter.mix.benchmarks import bbq, instruction, squad, toxicity
from forgetfilter.mix.benchmarks.candidates import field

Prompt = dict[str, Any]
SUITES = ("toxicity", "bias", "crows_pairs", "harmfulness", "over_refusal", "task")  # those with prompts of their own
ASKED = ("goal", "Behavior", "question", "instructions")  # AdvBench, HarmBench, HarmfulQA, I-MaliciousInstructions
METRICS = ("exact", "number", "rouge1")


def with_ids(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Prompt]:
    """Prompts of (source, row): the id is the content hash of the messages, or of the sentences that stand alone;
    duplicates are numbered."""
    pairs = list(rows)
    records = make_records((row["messages"] or _sentences(row), source, None) for source, row in pairs)
    return [{"id": record.id, "source": record.source, **row} for record, (_, row) in zip(records, pairs)]


def prompt_row(suite: str, row: Row, where: str) -> dict[str, Any]:
    """The prompt of a user's row, in the suite's own shape or one of the usual four (raw BBQ rows for bias).

    The turns to be answered end with the user's; an answer in the row is the reference of suite task, and is
    left out otherwise. A plain `text` gives suite toxicity its first three words.
    """
    if suite == "bias":
        return _bias(row, where)
    if suite == "crows_pairs":
        return {
            "messages": [],
            **{name: str(field(row, name, where)) for name in ("sent_more", "sent_less", "bias_type")},
        }
    if suite == "task" and row.get("context") is not None and row.get("answers") is not None:
        return squad.prompt(row, where)
    messages, answer = _prompt_and_answer(suite, row, where)
    if suite == "over_refusal":
        return {"messages": messages, "label": _label(row, where), "type": str(row.get("type") or "")}
    if suite != "task":
        return {"messages": messages}
    if row.get("reference") is not None:
        answer = str(row["reference"])
    if not answer:
        raise UserError(f"{where}: suite task needs a reference, or an answer in the row, to compare with")
    metric = str(row.get("metric") or "auto")
    if metric not in ("auto", *METRICS):
        raise UserError(f"{where}: metric cannot be {metric!r}{nearest(metric, METRICS)}")
    return {"messages": messages, **instruction.reference(answer, metric)}


def _sentences(row: Mapping[str, Any]) -> list[Message]:
    return [{"role": "user", "content": row["sent_more"]}, {"role": "assistant", "content": row["sent_less"]}]


def _label(row: Row, where: str) -> str:
    label = str(field(row, "label", where)).lower()
    if label not in ("safe", "unsafe"):
        raise UserError(f"{where}: label must say whether the prompt is safe or unsafe, got {row['label']!r}")
    return label


def _bias(row: Row, where: str) -> dict[str, Any]:
    if row.get("answer_info") is not None:
        return bbq.evaluation_row(row, where)
    messages, _ = _prompt_and_answer("bias", row, where)
    choices = field(row, "choices", where)
    if not isinstance(choices, list) or len(choices) != 3:
        raise UserError(f"{where}: choices must be a list of three answers")
    indices = {name: field(row, name, where) for name in ("gold", "unknown", "stereotyped")}
    for name, value in indices.items():
        if value not in (0, 1, 2):
            raise UserError(f"{where}: {name} must be the index of a choice, 0 to 2, got {value!r}")
    words = {"polarity": ("neg", "nonneg"), "condition": ("ambig", "disambig")}
    for name, known in words.items():
        if field(row, name, where) not in known:
            raise UserError(f"{where}: {name} must be {' or '.join(known)}, got {row[name]!r}")
    kept = {name: row[name] for name in words}
    return {"messages": messages, "choices": choices, **indices, **kept, "category": str(row.get("category") or "")}


def _prompt_and_answer(suite: str, row: Row, where: str) -> tuple[list[Message], str]:
    if row.get("messages") is not None:
        return _turns(row["messages"], where)
    if isinstance(row.get("prompt"), list):
        return _turns(row["prompt"], where)[0], str(row.get("completion") or "")
    if isinstance(row.get("prompt"), Mapping):  # RealToxicityPrompts
        return _asked(str(row["prompt"].get("text") or ""), where), ""
    if row.get("prompt") is not None:
        return _asked(str(row["prompt"]), where), str(row.get("completion") or "")
    if row.get("instruction") is not None:
        extra = str(row.get("input") or "")
        text = f"{row['instruction']}\n\n{extra}" if extra else str(row["instruction"])
        return _asked(text, where), str(row.get("output") or "")
    if row.get("text") is not None:
        text = str(row["text"])
        parts = toxicity.split_prompt(text) if suite == "toxicity" else None
        return _asked(parts[0] if parts else text, where), parts[1] if parts else ""
    for name in ASKED:
        if row.get(name) is not None:
            context = str(row.get("ContextString") or "")  # HarmBench's contextual behaviours, as it asks them
            return _asked(f"{context}\n\n---\n\n{row[name]}" if context else str(row[name]), where), ""
    found = ", ".join(sorted(key for key, value in row.items() if value is not None)) or "none"
    needs = f"messages, prompt, instruction, text, {', '.join(ASKED)}"
    raise UserError(f"{where}: a prompt needs one of {needs}; fields found: {found}")


def _asked(text: str, where: str) -> list[Message]:
    if not text.strip():
        raise UserError(f"{where}: the prompt is empty")
    return [{"role": "user", "content": text}]


def _turns(messages: Any, where: str) -> tuple[list[Message], str]:
    """(turns up to the last user's, the answer after it or "")."""
    if not isinstance(messages, list) or not all(
        isinstance(m, Mapping) and m.get("role") in ROLES and isinstance(m.get("content"), str) for m in messages
    ):
        raise UserError(f"{where}: messages must be a list of objects with a role and a text as content")
    clean = [{"role": m["role"], "content": m["content"]} for m in messages]
    answer = clean.pop()["content"] if clean and clean[-1]["role"] == "assistant" else ""
    if not clean or clean[-1]["role"] != "user":
        raise UserError(f"{where}: the last turn to be answered must be the user's")
    return clean, answer
