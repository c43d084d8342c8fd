"""Instruction rows with a checkable answer as a task: SST-2, AG News, GSM8K.

Rows are `instruction` (perhaps in the Alpaca wrapper), `input`, `output`; rows whose `flag` is unsafe are
skipped, since such files mix harmful answers into the task.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from forgetfilter.errors import check_choice
from forgetfilter.mix.benchmarks.candidates import Candidate, Rows, Skips, instruction_prompt, settings, text, turns

METRICS = ("auto", "exact", "number", "rouge1")
SHORT_WORDS = 5  # words: an answer of at most so many can be matched exactly
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_FINAL = re.compile(r"####|final answer", re.IGNORECASE)


def build(rows: Rows, options: Mapping[str, Any], key: str, skipped: Skips) -> Iterator[Candidate]:
    """Task examples, grouped by prompt. Option metric: auto (default), exact, number or rouge1."""
    metric = settings(options, {"metric": "auto"}, key)["metric"]
    check_choice(f"{key}.metric", metric, METRICS)
    for where, row in rows:
        if str(row.get("flag") or "").lower() == "unsafe":
            skipped["flagged unsafe"] += 1
            continue
        asked, answer = instruction_prompt(row, where), text(row, "output", where).strip()
        if not asked or not answer:
            skipped["empty prompt or answer"] += 1
            continue
        prompt = {"messages": turns(asked, answer)[:1], **reference(answer, metric)}
        yield Candidate(turns(asked, answer), "task", asked.lower(), prompt)


def reference(answer: str, metric: str = "auto") -> dict[str, str]:
    """The reference of an answer, and the metric.

    auto is the last number for an answer that marks one as final ("#### 16", "The final answer is: 16"), an exact match
    for a short answer, and ROUGE-1 for any other. An answer without a number is matched exactly.
    """
    numbers = _NUMBER.findall(answer)
    if metric == "auto":
        short = len(answer.split()) <= SHORT_WORDS
        metric = "number" if numbers and _FINAL.search(answer) else "exact" if short else "rouge1"
    if metric == "number" and numbers:
        return {"reference": numbers[-1].replace(",", ""), "metric": "number"}
    return {"reference": answer, "metric": "exact" if metric == "number" else metric}
