"""The texts that values of a row stand for. A value that stands for no text is refused with its row."""

import datetime
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from forgetfilter.data.records import clean
from forgetfilter.errors import UserError, printable

_NUMBERS = (float, Decimal)
_HOLDERS = (str, bytes, list, dict, tuple)
LONGEST = 10_000_000  # characters: no example is so long, and a tokenizer would need hours and gigabytes for one


def missing(value: object) -> bool:
    """Whether there is no value: null, or NaN, which tables write for it."""
    return value is None or (isinstance(value, _NUMBERS) and value != value)


def empty(value: object) -> bool:
    """Whether a field holds nothing that could be left out: no value, or an empty text, list or object."""
    return missing(value) or (isinstance(value, _HOLDERS) and not value)


def as_text(value: object, name: str, where: str) -> str:
    """The text of a value that is not missing: 0 is "0", false is "false", lists and objects are JSON.

    Bytes are UTF-8, as in Parquet files whose writer did not mark texts; dates are ISO 8601. UserError names the
    row and the field where the value stands for no text, or for one of more than `LONGEST` characters.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: {name} holds bytes that are no UTF-8 ({error.reason})") from error
    text = clean(value) if isinstance(value, str) else _written(value)
    if text is None:
        kind = str(value) if isinstance(value, _NUMBERS) else f"a value of type {type(value).__name__}"
        raise UserError(f"{where}: {name} holds {kind}, which is no text")
    if len(text) > LONGEST:
        raise UserError(f"{where}: {name} has {len(text)} characters, at most {LONGEST} can be learned: split the row")
    return text


def _written(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return str(value) if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if not isinstance(value, list | dict | tuple):
        return None
    try:
        return clean(json.dumps(value, ensure_ascii=False, allow_nan=False, default=_inside))
    except (ValueError, TypeError, RecursionError):  # NaN or bytes inside, or nested thousands deep
        return None


def _inside(value: object) -> str:
    text = _written(value)
    if text is None:
        raise TypeError
    return text


def found(row: Mapping[str, Any]) -> str:
    """The fields that hold a value, for an error about one that does not."""
    names = sorted(str(name) for name, value in row.items() if not missing(value))
    return printable(", ".join(names[:30])) + (", ..." if len(names) > 30 else "") or "none"
