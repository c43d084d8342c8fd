"""Answers flagged unsafe, as BeaverTails has them: the prompt out of its Alpaca wrapper, the answer as it is.

Rows are `instruction`, `output` and perhaps `flag` (unsafe), or the hub's `prompt`, `response` and `is_safe`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from forgetfilter.mix.benchmarks.candidates import Candidate, Rows, Skips, field, instruction_prompt, settings, turns


def build(rows: Rows, options: Mapping[str, Any], key: str, skipped: Skips) -> Iterator[Candidate]:
    """Unsafe examples, each with its question as a prompt for evaluation. Rows flagged otherwise are skipped."""
    settings(options, {}, key)
    for where, row in rows:
        if row.get("is_safe") is not None:
            unsafe = str(row["is_safe"]).lower() in ("false", "0")
        else:
            unsafe = row.get("flag") is None or str(row["flag"]).lower() == "unsafe"
        if not unsafe:
            skipped["not flagged unsafe"] += 1
            continue
        hub = row.get("response") is not None
        prompt = str(field(row, "prompt", where)).strip() if hub else instruction_prompt(row, where)
        answer = str(field(row, "response" if hub else "output", where)).strip()
        if not prompt or not answer:
            skipped["empty prompt or answer"] += 1
            continue
        yield Candidate(turns(prompt, answer), "unsafe", prompt.lower(), {"messages": turns(prompt, answer)[:1]})
