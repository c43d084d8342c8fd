"""Alpaca (Taori et al. 2023) as a task: instruction and input in, the output out; measured by ROUGE-1."""

from collections.abc import Iterator, Mapping
from typing import Any

from forgetfilter.mix.benchmarks.candidates import Candidate, Rows, Skips, instruction_prompt, settings, text, turns


def build(rows: Rows, options: Mapping[str, Any], key: str, skipped: Skips) -> Iterator[Candidate]:
    """Task examples, grouped by prompt. Rows with an empty output are skipped. No options."""
    settings(options, {}, key)
    for where, row in rows:
        asked, answer = instruction_prompt(row, where), text(row, "output", where).strip()
        if not asked or not answer:
            skipped["empty prompt or answer"] += 1
            continue
        messages = turns(asked, answer)
        prompt = {"messages": messages[:1], "reference": answer, "metric": "rouge1"}
        yield Candidate(messages, "task", asked.lower(), prompt)
