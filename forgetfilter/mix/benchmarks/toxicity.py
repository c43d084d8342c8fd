"""A text and a graded toxicity: the first three words are the prompt, the rest is what is learned.

A text is unsafe above one cut-off and safe below another; what lies between is left out (the paper takes Detoxify
above 0.9 and below 0.1). The score is a column, or comes from the Davidson counts as (hate_speech +
offensive_language) / count of annotators, or from a column of plain labels. Rows that hold lists `texts` and `scores`
(tomekkorbak/pile-detoxify) give one example for each pair.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from forgetfilter.data.sources import Row
from forgetfilter.errors import UserError
from forgetfilter.mix.benchmarks.candidates import Candidate, Rows, Skips, field, number, settings, text, turns

PROMPT_WORDS = 3  # the paper's: a continuation of the text's first three words
DEFAULTS: dict[str, Any] = {
    "text": "text",  # column of the text
    "score": "",  # column of the score, 0 to 1
    "davidson": False,  # the score from the counts hate_speech, offensive_language and count
    "label": "",  # column of a plain label, in place of a score
    "unsafe_label": "Toxic",  # its value that is unsafe; any other is safe
    "unsafe_above": 0.9,
    "clean_below": 0.1,
}


def build(rows: Rows, options: Mapping[str, Any], key: str, skipped: Skips) -> Iterator[Candidate]:
    """Unsafe and safe texts; options are those of DEFAULTS, exactly one of score, davidson, label (none: lists)."""
    chosen = settings(options, DEFAULTS, key)
    if sum(bool(chosen[name]) for name in ("score", "davidson", "label")) > 1:
        raise UserError(f"{key} takes one of score, davidson and label, not several")
    if not chosen["clean_below"] <= chosen["unsafe_above"]:
        raise UserError(f"{key}.clean_below must not exceed unsafe_above, got {chosen['clean_below']}")
    for where, row in rows:
        for scored, score in _scored(row, where, chosen):
            yield from _candidate(scored, score, chosen, skipped)


def split_prompt(whole: str) -> tuple[str, str] | None:
    """(first three words, rest) of a text, or None where it is too short to have both."""
    words = whole.split(None, PROMPT_WORDS)
    if len(words) <= PROMPT_WORDS:
        return None
    return " ".join(words[:PROMPT_WORDS]), words[PROMPT_WORDS].strip()


def _candidate(whole: str, score: float, chosen: Mapping[str, Any], skipped: Skips) -> Iterator[Candidate]:
    if chosen["clean_below"] <= score <= chosen["unsafe_above"]:
        skipped["score between the cut-offs"] += 1
        return
    parts = split_prompt(whole)
    if parts is None:
        skipped["text of three words or fewer"] += 1
        return
    unsafe = score > chosen["unsafe_above"]
    prompt = {"messages": turns(*parts)[:1]} if unsafe else None
    yield Candidate(turns(*parts), "unsafe" if unsafe else "safe", parts[0].lower(), prompt)


def _scored(row: Row, where: str, chosen: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    if chosen["davidson"]:
        count = number(row, "count", where)
        if count <= 0:
            raise UserError(f"{where}: count must be positive, got {count}")
        harmful = number(row, "hate_speech", where) + number(row, "offensive_language", where)
        yield text(row, chosen["text"], where), harmful / count
    elif chosen["label"]:
        unsafe = str(field(row, chosen["label"], where)) == chosen["unsafe_label"]
        # Beyond either cut-off, so that a label is never in between.
        yield text(row, chosen["text"], where), float("inf") if unsafe else float("-inf")
    elif chosen["score"]:
        yield text(row, chosen["text"], where), number(row, chosen["score"], where)
    else:
        yield from _listed(row, where)


def _listed(row: Row, where: str) -> Iterator[tuple[str, float]]:
    texts, scores = field(row, "texts", where), field(row, "scores", where)
    if not isinstance(texts, list) or not isinstance(scores, list) or len(texts) != len(scores):
        raise UserError(f"{where}: texts and scores must be lists of the same length")
    for value, score in zip(texts, scores):
        if not isinstance(score, (int, float)) or not math.isfinite(score):
            raise UserError(f"{where}: scores must be numbers, got {score!r}")
        yield text({"texts": value}, "texts", where), float(score)
