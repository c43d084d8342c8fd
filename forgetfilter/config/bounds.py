"""What a number or a path in a setting may be, said beside the setting: `lr: float = positive(2e-4)`.

`check_bounds` walks through a configuration and refuses the first value that is outside of its bound, and names the
key as the user wrote it. A bound on a list or a mapping holds for each of its values. None is always allowed.
"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from forgetfilter.errors import UserError, plain_label

LONGEST_PART, LONGEST_PATH = 255, 4095  # bytes of one name in a path, and of the whole path: no file system takes more


@dataclass(frozen=True)
class Bound:
    """A condition on a number, false for NaN, or on a text. `name` completes "must ..."."""

    name: str
    holds: Callable[[Any], bool]


def can_be_path(text: str) -> bool:
    """Whether some file may have this path."""
    try:
        encoded = os.fsencode(Path(text).expanduser())
    # ~NAME of an unknown user, or a lone surrogate, which stands for no byte
    except (RuntimeError, UnicodeEncodeError):
        return False
    return b"\0" not in encoded and len(encoded) <= LONGEST_PATH and max(map(len, encoded.split(b"/"))) <= LONGEST_PART


POSITIVE = Bound("be positive", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Bound("not be negative", lambda value: 0 <= value < math.inf)
AUTO_OR_POSITIVE = Bound("be auto or a positive whole number", lambda value: value == "auto" or _counts(value))
SHARE = Bound("be between 0 and 1", lambda value: 0 <= value <= 1)
CONFIDENCE = Bound("be auto, average or between 0 and 1", lambda value: _is_confidence(value))
POSITIVE_SHARE = Bound("be above 0 and at most 1", lambda value: 0 < value <= 1)
SEED = Bound("be a whole number from 0 to 4294967295", lambda value: 0 <= value < 2**32)  # what NumPy takes
NUMBER = Bound("be a number", math.isfinite)
PATH = Bound(f"be a path: no NUL, no name of more than {LONGEST_PART} bytes, no unknown ~USER", can_be_path)


def _counts(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def _is_confidence(value: Any) -> bool:
    return value in ("auto", "average") or (isinstance(value, int | float) and SHARE.holds(value))


def at_least(least: int) -> Bound:
    return Bound(f"be at least {least}", lambda value: least <= value < math.inf)


def between(least: int, most: int) -> Bound:
    return Bound(f"be between {least} and {most}", lambda value: least <= value <= most)


def bounded(default: Any, bound: Bound) -> Any:
    """A dataclass field with its default and its bound."""
    return field(default=default, metadata={"bound": bound})


def pathname(default: str | None) -> Any:
    """A setting that is a path: a file or a folder may have this name."""
    return bounded(default, PATH)


def positive(default: float) -> Any:
    return bounded(default, POSITIVE)


def auto_or_positive() -> Any:
    """A number that `auto` leaves to the machine."""
    return bounded("auto", AUTO_OR_POSITIVE)


def not_negative(default: float | None) -> Any:
    return bounded(default, NOT_NEGATIVE)


def share(default: float | None) -> Any:
    return bounded(default, SHARE)


def check_bounds(config: Any, prefix: str = "") -> None:
    """Raises UserError for the first value of a configuration, or of one of its sections, outside of its bound."""
    for one in fields(config):
        key, value = f"{prefix}{one.name}", getattr(config, one.name)
        for place, part in _parts(key, value):
            if is_dataclass(part):
                check_bounds(part, f"{place}.")
            elif isinstance(value, list) and isinstance(part, list | dict):  # OmegaConf takes it for any element
                raise UserError(
                    f"{place} must be a single value, got a {'list' if isinstance(part, list) else 'mapping'}"
                )
            elif part is not None and (bound := one.metadata.get("bound")) and not bound.holds(part):
                shown = repr(plain_label(part)) if isinstance(part, str) else part
                raise UserError(f"{place} must {bound.name}, got {shown}")


def _parts(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The values of a list or a mapping with their keys, or the value itself."""
    if isinstance(value, dict):
        yield from ((f"{key}.{name}", part) for name, part in value.items())
    elif isinstance(value, list):
        yield from ((f"{key}[{number}]", part) for number, part in enumerate(value))
    else:
        yield key, value
