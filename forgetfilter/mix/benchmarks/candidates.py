"""The examples that a builder makes of a benchmark's rows, and the helpers that all builders share."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from forgetfilter.data.records import Message
from forgetfilter.data.sources import Row
from forgetfilter.data.values import as_text, found, missing
from forgetfilter.errors import UserError, nearest

Skips = Counter[str]  # {reason: number of rows that were left out for it}
Rows = Iterable[tuple[str, Row]]  # (where, row) of data.sources.read_rows


@dataclass(frozen=True)
class Candidate:
    """An example that a mixture may take.

    `group` names what must not be divided among the noisy set, the safe set and the evaluation (a question
    group, a prompt). `prompt` is its row for evaluation (messages and what the suite needs) or None.
    `stratum` names the cell of a balanced evaluation.
    """

    messages: list[Message]
    label: str  # unsafe, safe or task
    group: str
    prompt: dict[str, Any] | None = None
    stratum: str = ""


# A builder takes the rows, its options (key by key), the config key of the options, and the counter of skips.
Builder = Callable[[Rows, Mapping[str, Any], str, Skips], Iterator[Candidate]]


def settings(options: Mapping[str, Any], defaults: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The defaults, overridden by the user's options; an option that the builder does not have is refused."""
    for name, value in options.items():
        if name not in defaults:
            hint = nearest(name, list(defaults)) if defaults else "; this builder has no options"
            raise UserError(f"{key}.{name} is no option of this builder{hint}")
        wanted = defaults[name]
        if isinstance(wanted, float) and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise UserError(f"{key}.{name} must be a number, got {value!r}")
        if isinstance(wanted, str) and not isinstance(value, str):
            raise UserError(f"{key}.{name} must be a text, got {value!r}")
    return {**defaults, **options}


def field(row: Mapping[str, Any], name: str, where: str) -> Any:
    """The value of a field that must be there. Raises UserError with the file, the row and the fields that it has."""
    if missing(row.get(name)):
        raise UserError(f"{where}: needs the field {name!r}; fields found: {found(row)}")
    return row[name]


def text(row: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
    """A field as the text that it stands for (0 is "0"); the default, where there is one, if it has no value."""
    if default is not None and missing(row.get(name)):
        return default
    return as_text(field(row, name, where), name, where)


def number(row: Mapping[str, Any], name: str, where: str) -> float:
    """A field as a number; values from CSV are strings."""
    value = field(row, name, where)
    try:
        converted = float(value)
    except (TypeError, ValueError, OverflowError):
        converted = math.nan
    if not math.isfinite(converted):
        raise UserError(f"{where}: {name} must be a number, got {str(value)[:40]!r}")
    return converted


def turns(prompt: str, answer: str) -> list[Message]:
    """One question and its answer."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


_WRAPPER = re.compile(
    r"^Below is an instruction.*?### Instruction:\s*\n(?P<instruction>.*?)"
    r"(?:\n\s*### Input:\s*\n(?P<input>.*?))?\n\s*### Response:\s*$",
    re.DOTALL,
)


def unwrap_alpaca(prompt: str) -> tuple[str, str]:
    """(instruction, input) of a prompt in the Alpaca wrapper; any other prompt is its own instruction.

    Example: "Below is an instruction ...\\n\\n### Instruction:\\nSay hi\\n\\n### Response:" gives ("Say hi", "").
    """
    match = _WRAPPER.match(prompt.strip())
    if not match:
        return prompt.strip(), ""
    return match["instruction"].strip(), (match["input"] or "").strip()


def instruction_prompt(row: Mapping[str, Any], where: str) -> str:
    """The user's turn of an instruction row, unwrapped: instruction, a blank line, the input where there is one."""
    instruction, wrapped_input = unwrap_alpaca(text(row, "instruction", where))
    extra = wrapped_input or text(row, "input", where, "").strip()
    return f"{instruction}\n\n{extra}" if extra else instruction
