"""Answers that are flagged unsafe, as in BeaverTails. The prompt is taken out of its Alpaca wrapper.

Rows are `instruction`, `output` and perhaps `flag` (unsafe), or the hub's `prompt`, `response` and `is_safe`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from forgetfilter.data.values import missing
from forgetfilter.mix.benchmarks.candidates import Candidate, Rows, Skips, instruction_prompt, settings, text, turns


def build(rows: Rows, options: Mapping[str, Any], key: str, skipped: Skips) -> Iterator[Candidate]:
    """Unsafe examples, each with its question as a prompt for evaluation. Rows flagged otherwise are skipped."""
    settings(options, {}, key)
    for where, row in rows:
        if not missing(row.get("is_safe")):
            unsafe = str(row["is_safe"]).lower() in ("false", "0", "0.0")
        else:
            unsafe = missing(row.get("flag")) or str(row["flag"]).lower() == "unsafe"
        if not unsafe:
            skipped["not flagged unsafe"] += 1
            continue
        hub = not missing(row.get("response"))
        prompt = text(row, "prompt", where).strip() if hub else instruction_prompt(row, where)
        answer = text(row, "response" if hub else "output", where).strip()
        if not prompt or not answer:
            skipped["empty prompt or answer"] += 1
            continue
        yield Candidate(turns(prompt, answer), "unsafe", prompt.lower(), {"messages": turns(prompt, answer)[:1]})
