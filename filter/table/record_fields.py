"""Fields of the canonical records, read in blocks of whole lines, so that no text need be in memory."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forgetfilter.errors import UserError


def read_lines(data: Path, block: NDArray[np.uint8], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Fields of the canonical records in a block of whole lines of `data`; UserError with the line that is none."""
    try:
        return pl.read_ndjson(block.tobytes(), schema=schema)
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{data} {_broken_line(data)}; run the mix stage again") from error


def _broken_line(data: Path) -> str:
    """Where and why a JSONL file cannot be read."""
    with open(data, "rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return f"line {number}: not a JSON object"
            except ValueError as error:
                return f"line {number}: not valid JSON ({error})"
    return "cannot be read: id, source and label must be text"
