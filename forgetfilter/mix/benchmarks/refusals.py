"""Declined requests (Bianchi et al. 2024, safety-tuned-llamas): every row is safe."""

from collections.abc import Iterator, Mapping
from typing import Any

from forgetfilter.mix.benchmarks.candidates import Candidate, Rows, Skips, instruction_prompt, settings, text, turns


def build(rows: Rows, options: Mapping[str, Any], key: str, skipped: Skips) -> Iterator[Candidate]:
    """Safe examples of rows with `instruction`, `output` and perhaps `input`. No options."""
    settings(options, {}, key)
    for where, row in rows:
        prompt, answer = instruction_prompt(row, where), text(row, "output", where).strip()
        if not prompt or not answer:
            skipped["empty prompt or answer"] += 1
            continue
        yield Candidate(turns(prompt, answer), "safe", prompt.lower())
